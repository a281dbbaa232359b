/** When a server session ends inside a transaction, only that transaction fails. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connect } from '../../src/db/connect.ts';
import type { Sql, Tx } from '../../src/db/connect.ts';
import { openDatabase } from '../../src/db/database.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';

let database: TestDatabase;
let victim: Sql;
beforeAll(async () => {
  database = await freshDatabase();
  victim = connect(database.url, { max: 1, applicationName: 'purser test victim' });
});
afterAll(async () => {
  await victim.end({ timeout: 5 });
  await database.close();
});

const pidOf = async (tx: Tx): Promise<number> => {
  const [row] = await tx<{ pid: number }[]>`select pg_backend_pid() as pid`;
  return row?.pid ?? 0;
};
/** Ends the session once it runs a statement, or at once when `atOnce`. */
const terminate = async (pid: number, atOnce = false): Promise<void> => {
  if (!atOnce) {
    await expect
      .poll(async () => {
        const [row] = await database.sql`select state from pg_stat_activity where pid = ${pid}`;
        return row?.['state'];
      })
      .toBe('active');
  }
  await database.sql`select pg_terminate_backend(${pid})`;
};

const signal = () => {
  let reach = (): void => {};
  const reached = new Promise<void>((resolve) => {
    reach = resolve;
  });
  return { reach: () => reach(), reached };
};

describe('a session terminated inside a transaction', () => {
  test.each([
    [
      'while a statement runs',
      async (tx: Tx) => {
        const pid = await pidOf(tx);
        await Promise.all([tx`select pg_sleep(20)`, terminate(pid)]);
      },
    ],
    [
      'between two statements',
      async (tx: Tx) => {
        await terminate(await pidOf(tx), true);
        await tx`select 1`;
      },
    ],
    [
      'with statements in the pipe',
      async (tx: Tx) => {
        const pid = await pidOf(tx);
        await Promise.all([tx`select pg_sleep(20)`, tx`select 2`, terminate(pid)]);
      },
    ],
    [
      'in the middle of a COPY',
      async (tx: Tx) => {
        await tx`create temporary table staged (line text) on commit drop`;
        const pid = await pidOf(tx);
        const copy = await tx`copy staged from stdin`.writable();
        await new Promise((resolve, reject) => {
          copy.on('error', reject);
          copy.write('one line\n', () => {
            terminate(pid).then(() => copy.end('another\n', () => resolve(undefined)), reject);
          });
        });
      },
    ],
  ])('%s: it rejects, and the next transaction on the pool is untouched', async (_, act) => {
    for (let round = 0; round < 10; round += 1) {
      await expect(victim.begin(act)).rejects.toBeInstanceOf(Error);
      const [row] = await victim.begin((tx) => tx<{ one: number }[]>`select 1 as one`);
      expect(row).toEqual({ one: 1 });
    }
  });

  test('a statement of the lost transaction never runs in the next transaction of the connection', async () => {
    await database.sql`create table if not exists written (by text)`;
    const next = signal();
    const tried = signal();
    let late: Promise<unknown> | undefined;
    const lost = victim.begin(async (tx) => {
      await terminate(await pidOf(tx), true);
      // The transaction is lost, but its function is still running.
      await next.reached;
      late = tx`insert into written values ('the lost one')`.then(
        () => 'it ran',
        (error: unknown) => error,
      );
      tried.reach();
    });
    await expect(lost).rejects.toBeInstanceOf(Error);
    await victim.begin(async (tx) => {
      await tx`insert into written values ('the next one')`;
      next.reach();
      await tried.reached;
      expect(await late).toBeInstanceOf(Error);
      await tx`insert into written values ('the next one again')`;
    });
    const rows = await database.sql`select by from written order by 1`;
    expect(rows.map(({ by }) => String(by))).toEqual(['the next one', 'the next one again']);
  });
});

test('a statement through an ended transaction object never runs in the next transaction of the connection', async () => {
  let leaked: Tx | undefined;
  await victim.begin(async (tx) => {
    leaked = tx;
    await tx`select 1`;
  });
  const failed = victim.begin(async (tx) => {
    await tx`select 1`;
    throw new Error('rolled back');
  });
  await expect(failed).rejects.toThrow('rolled back');
  await victim.begin(async (tx) => {
    await tx`select set_config('purser.test', 'somebody else', true)`;
    await expect(leaked?.unsafe(`select current_setting('purser.test')`)).rejects.toThrow(
      'this transaction is over',
    );
  });
});

test('a transaction that its client leaves idle is ended by the server', async () => {
  const fleet = await openDatabase({
    url: database.url,
    applicationName: 'purser test fleet',
    systemConnections: 1,
    tenantConnections: 1,
  });
  const [row] = await fleet.system`show idle_in_transaction_session_timeout`;
  await fleet.close();
  expect(row?.['idle_in_transaction_session_timeout']).toBe('20s');
});

test.each([
  ['an unfinished COPY to the server', (tx: Tx) => tx`copy staged from stdin`.writable()],
  [
    'a COPY from the server that is not read',
    (tx: Tx) =>
      tx`copy (select repeat('x', 99), n
      from generate_series(1, 99999) n) to stdout`.readable(),
  ],
])('a transaction that leaves %s ends its session', async (_, leave) => {
  const left = victim.begin(async (tx) => {
    await tx`create temporary table staged (line text) on commit drop`;
    await leave(tx);
    throw new Error('changed my mind');
  });
  await expect(left).rejects.toMatchObject({ code: 'COPY_IN_PROGRESS' });
  const [row] = await victim.begin((tx) => tx<{ one: number }[]>`select 1 as one`);
  expect(row).toEqual({ one: 1 });
});
