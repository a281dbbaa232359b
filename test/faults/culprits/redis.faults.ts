import { describeOnRedis } from '../../support/redis.ts';
import { describeCulprits } from './suite.ts';

describeOnRedis('culprits, queues in Redis', () => {
  describeCulprits('redis');
});
