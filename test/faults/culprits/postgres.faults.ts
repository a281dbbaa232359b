import { describe } from 'vitest';
import { describeCulprits } from './suite.ts';

describe('misbehaving handlers, queues in Postgres', () => {
  describeCulprits('postgres');
});
