import { describe } from 'vitest';
import { describeWorker, onStore } from './worker-suite.ts';

describe('a worker with its queues in Postgres', () => {
  describeWorker(onStore(() => undefined));
});
