import { describe } from 'vitest';
import { describeBegunAhead } from './begun-ahead.ts';
import { describeChunks } from './chunks.ts';
import { describeStops } from './stops.ts';
import { describeWorker, onStore } from './suite.ts';

describe('a worker with its queues in Postgres', () => {
  describeWorker(onStore(() => undefined));
  describeChunks(onStore(() => undefined, false));
  describeBegunAhead(onStore(() => undefined, false));
  describeStops(onStore(() => undefined, false));
});
