import type { Sinks } from '@temporalio/workflow';

export interface ProgressSinks extends Sinks {
  progress: {
    step(number: number): void;
  };
}
