import { executeChild } from '@temporalio/workflow';
import { child } from './child';

export async function parent(names: string[]): Promise<string> {
  const said = await Promise.all(names.map((name) => executeChild(child, { args: [name] })));
  return `${said.join(' + ')}, total ${await executeChild('count', { args: [names] })}`;
}
