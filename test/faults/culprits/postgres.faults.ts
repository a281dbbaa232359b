import { describe } from 'vitest';
import { describeCulprits } from './culprits-suite.ts';

describe('culprits, queues in Postgres', () => {
  describeCulprits('postgres');
});
