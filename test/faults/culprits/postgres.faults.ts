import { describe } from 'vitest';
import { describeCulprits } from './suite.ts';

describe('culprits, queues in Postgres', () => {
  describeCulprits('postgres');
});
