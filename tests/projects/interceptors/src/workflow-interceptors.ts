import type { Next, WorkflowExecuteInput, WorkflowInboundCallsInterceptor, WorkflowInterceptorsFactory } from '@temporalio/workflow';

class Audit implements WorkflowInboundCallsInterceptor {
  async execute(input: WorkflowExecuteInput, next: Next<WorkflowInboundCallsInterceptor, 'execute'>): Promise<unknown> {
    return { result: await next(input), by: 'workflow interceptor' };
  }
}

export const interceptors: WorkflowInterceptorsFactory = () => ({ inbound: [new Audit()] });
