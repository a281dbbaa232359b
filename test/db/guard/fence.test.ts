/**
 * The fence of a tenant transaction compares its identity with that of its beginning: the last check, where a COMMIT
 * was hidden from all others, or another server process answers.
 */
import type { ReservedSql } from 'postgres';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Database } from '../../../src/db/database.ts';
import type { Tx } from '../../../src/db/connect.ts';
import { runTransaction } from '../../../src/db/guard/transaction.ts';
import type { Identity } from '../../../src/db/guard/transaction.ts';
import { tenantSql } from '../../../src/db/tenant.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant, startAttempt } from '../../support/tenants.ts';

let test: TestDatabase;
let database: Database;
beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open({ level: 'L3', tenantConnections: 1 });
});
afterAll(() => test.close());

const keepToken = "select set_config('my.token', current_setting('purser.token'), false)";
const restoreToken = "select set_config('purser.token', current_setting('my.token'), false)";

/** A comment that a carriage return ends hides the COMMIT from the text, the stream of COPY hides its command tag from the result. */
async function commitUnseen(tx: Tx, then: string): Promise<void> {
  const rows = tx.unsafe(
    `${keepToken}; copy (select 1) to stdout; -- \r commit; ${then}${restoreToken}`,
  );
  for await (const _ of await rows.readable());
}

describe('a COMMIT that no check of a statement saw', () => {
  it.each([
    ['followed by BEGIN', 'begin; ', {}],
    ['followed by BEGIN, with a completion', 'begin; ', { complete: true }],
    [
      'followed by BEGIN with an id, with a completion',
      'begin; select pg_current_xact_id(); ',
      { complete: true },
    ],
    ['followed by nothing', '', {}],
    ['followed by nothing, with a completion', '', { complete: true }],
  ])('%s: the fence refuses what came after it', async (_, then, options) => {
    const { token } = await startAttempt(test.sql, await addTenant(test.sql));
    const work = tenantSql(database.tenant, { token }).begin(async (tx) => {
      await commitUnseen(tx, then);
      return 'done';
    }, options);
    await expect(work).rejects.toThrow(/at its fence/);
    // A completion deletes it.
    const tokens = await test.sql`select from purser.in_flight where token = ${token}`;
    expect(tokens).toHaveLength(1);
  });
});

async function begin(sql: ReservedSql): Promise<Identity> {
  await sql`begin`;
  const [identity] = await sql<Identity[]>`
    select pg_current_xact_id()::text as xid, pg_backend_pid() as pid`;
  return identity ?? { xid: null, pid: 0 };
}

describe.each<[string, (identity: Identity) => Identity | undefined]>([
  ['another server process', ({ xid, pid }) => ({ xid, pid: pid + 1 })],
  ['another transaction', ({ pid }) => ({ xid: '1', pid })],
  ['a session without a transaction', ({ pid }) => ({ xid: null, pid })],
  ['no row', () => undefined],
])('a fence that %s answers', (_, answer) => {
  it('fails the transaction', async () => {
    const work = database.tenant.sessions.use((session) =>
      runTransaction(session, {
        enter: begin,
        body: () => Promise.resolve('done'),
        fence: (_sql, _value, identity) => Promise.resolve(answer(identity)),
        onSavepointError: () => {},
      }),
    );
    await expect(work).rejects.toMatchObject({ code: 'transaction_ended' });
  });
});

/** A statement of the fence itself, after it has read the identity: nothing that a guarded statement could do. */
describe.each([
  ['fails the transaction', 'select 1 / 0', /COMMIT was answered by ROLLBACK/],
  ['has committed it before', 'commit', /COMMIT was answered by COMMIT/],
  ['has rolled it back', 'rollback', /COMMIT was answered by COMMIT/],
])('a COMMIT after a statement that %s', (_, text, message) => {
  it('is not reported as a commit, and its session is not lent again', async () => {
    const session = await database.tenant.sessions.use(async (lent) => {
      const work = runTransaction(lent, {
        enter: begin,
        body: () => Promise.resolve('done'),
        fence: async (sql, _value, identity) => {
          await sql.unsafe(text).catch(() => {});
          return identity;
        },
        onSavepointError: () => {},
      });
      await expect(work).rejects.toThrow(message);
      await expect(work).rejects.toMatchObject({ code: 'transaction_ended' });
      return lent;
    });
    expect(session.reusable).toBe(false);
  });
});

it('with a completion, the job ends by the same COMMIT or not at all', async () => {
  const { token } = await startAttempt(test.sql, await addTenant(test.sql));
  const work = tenantSql(database.tenant, { token }).begin(
    async (tx) => {
      await tx.unsafe('commit; begin');
      return 'done';
    },
    { complete: true },
  );
  await expect(work).rejects.toMatchObject({ code: 'transaction_ended' });
});
