import { afterAll, beforeAll } from 'vitest';
import { describeOnRedis, startRedis } from '../../support/redis.ts';
import type { TestRedis } from '../../support/redis.ts';
import { describeBegunAhead } from './begun-ahead.ts';
import { describeChunks } from './chunks.ts';
import { describeStops } from './stops.ts';
import { describeWorker, onStore } from './suite.ts';

describeOnRedis('a worker with its queues in Redis', () => {
  let redis: TestRedis;
  beforeAll(async () => {
    redis = await startRedis();
  });
  describeWorker(onStore(() => redis.url));
  describeChunks(onStore(() => redis.url, false));
  describeBegunAhead(onStore(() => redis.url, false));
  describeStops(onStore(() => redis.url, false));
  afterAll(() => redis.stop());
});
