/** `doctor` names a transaction that stays open, and how to end it. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { checkOpenTransactions } from '../../../src/cli/doctor/checks/database.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await freshDatabase();
});
afterAll(() => test.close());

it.each([
  ['with an id', 'select pg_current_xact_id()'],
  ['with a snapshot', 'declare reader cursor for select from jobs'],
])('a transaction %s', async (_what, statement) => {
  const held = await test.sql.reserve();
  try {
    await held`begin`;
    await held.unsafe(statement);
    const [session] = await held<{ pid: number }[]>`select pg_backend_pid() as pid`;
    const found = await checkOpenTransactions(test.sql, 0);
    expect(found.level).toBe('warn');
    expect(found.seen).toContain(`pid ${session?.pid} (login purser_app, "purser test"`);
    expect(found.fix).toContain(`select pg_terminate_backend(${session?.pid})`);
    expect(await checkOpenTransactions(test.sql)).toMatchObject({ level: 'ok' });
  } finally {
    await held`rollback`;
    held.release();
  }
  expect(await checkOpenTransactions(test.sql, 0)).toMatchObject({ level: 'ok' });
});
