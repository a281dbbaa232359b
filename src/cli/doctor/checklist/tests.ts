/** Items that only a test or a measurement in a clone can show: `doctor` prints the command. */
import type { ItemDefinition } from './item.ts';

const inClone = (item: string, command: string): ItemDefinition => ({
  section: 'tests',
  item,
  command,
  expected: 'passes',
  measure: () => ({ seen: 'run the command in a clone', met: undefined }),
});

export const testItems: readonly ItemDefinition[] = [
  inClone('RLS enforcement', 'npx vitest run -t test_rls_'),
  inClone(
    'LLM budget, checked before the call',
    'npx vitest run test/budget/llm-budget-check.test.ts',
  ),
  inClone('job timeout', 'npx vitest run test/worker/job-timeout.test.ts'),
  inClone(
    'scheduler: one transaction, SKIP LOCKED, deadlock retry',
    'npx vitest run test/scheduler/scheduler-atomicity.test.ts',
  ),
  inClone('job tenant isolation', 'npx vitest run test/worker/job-tenant-isolation.test.ts'),
  inClone(
    'encryption salt management',
    'npx vitest run test/crypto/encryption-salt-management.test.ts',
  ),
  inClone('the full pipeline', 'npx vitest run -t test_full_pipeline_with_all_fixes'),
  inClone(
    'overhead under 100 ms per operation',
    'npx tsx bench/encryption.ts && npx tsx bench/budget.ts',
  ),
  inClone('all tests, with coverage over 80 %', 'npm test'),
];
