/** The warning of an enqueue that no live worker runs the type: in the answer, beside the enqueue, and seldom asked for. */
import { Client } from 'pg';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { enqueue, enqueueMany } from '../../../src/index.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addJobType } from '../job-steps.ts';

const ping = 'ping';
let database: TestDatabase;
let pgClient: Client;
beforeAll(async () => {
  database = await freshDatabase();
  await addJobType(database.sql, ping);
  await database.sql`insert into tenants (id) values ('acme')`;
  pgClient = new Client({ connectionString: database.url });
  await pgClient.connect();
});
beforeEach(() => database.sql`delete from heartbeats`);
afterAll(async () => {
  await pgClient.end();
  await database.close();
});

/** From now on a worker lives that runs this type. */
const runs = (jobType: string) => database.sql`
  insert into heartbeats (process_id, role, version, hostname, pid, job_types)
  values (${`worker of ${jobType}`}, 'worker', '1', 'h', 1, ${[jobType]}::text[])`;

/** The pool, with the statements that are sent by it counted. */
function counted() {
  const sent: string[] = [];
  const pool = new Proxy(database.sql, {
    get: (target, name, receiver) => {
      if (name !== 'unsafe') return Reflect.get(target, name, receiver) as unknown;
      return (...args: Parameters<typeof target.unsafe>) => {
        sent.push(args[0]);
        return target.unsafe(...args);
      };
    },
  });
  return { pool, asked: () => sent.filter((text) => text.includes('heartbeats')).length };
}

test('is in the answer, names the types that are run, and is asked for once in ten seconds', async () => {
  await runs('report_of_others');
  const { pool, asked } = counted();
  for (let n = 0; n < 20; n += 1) {
    expect(await enqueue(pool, ping, { tenantId: 'acme' })).toMatchObject({
      created: true,
      warning: expect.stringMatching(
        /^no live worker runs jobs of ping \(those that live run report_of_others\).*purser why --type=ping$/,
      ),
    });
  }
  const [many] = await enqueueMany(pool, ping, [{ tenantId: 'acme' }]);
  expect(many?.warning).toMatch(/^no live worker runs jobs of ping/);
  expect(asked()).toBe(1);
});

test('is not there where a worker runs it, nor in a transaction, where nothing is asked', async () => {
  const { pool, asked } = counted();
  await database.sql.begin(async (tx) => {
    expect(await enqueue(tx, ping, { tenantId: 'acme' })).not.toHaveProperty('warning');
  });
  expect(await enqueue(pgClient, ping, { tenantId: 'acme' })).not.toHaveProperty('warning');
  expect(asked()).toBe(0);
  await runs('ping');
  expect(await enqueue(pool, ping, { tenantId: 'acme' })).not.toHaveProperty('warning');
  expect(asked()).toBe(1);
});

test('does not fail an enqueue when the question fails', async () => {
  const { pool } = counted();
  await database.sql`alter table heartbeats rename to heartbeats_away`;
  try {
    const made = await enqueue(pool, ping, { tenantId: 'acme' });
    expect(made).toEqual({ jobId: expect.any(String), created: true, replaced: false });
  } finally {
    await database.sql`alter table heartbeats_away rename to heartbeats`;
  }
});
