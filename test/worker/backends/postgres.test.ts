import { describe } from 'vitest';
import { describeWorker, onStore } from './suite.ts';

describe('a worker with its queues in Postgres', () => {
  describeWorker(onStore(() => undefined));
});
