import { Context } from '@temporalio/activity';

export async function encodeClip(name: string): Promise<string> {
  return `${name} encoded on ${Context.current().info.taskQueue}`;
}
