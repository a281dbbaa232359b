/** A group that nobody could see or tell apart is refused at every door, in the same words, and no job is made. */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { connect } from '../../../src/db/connect.ts';
import type { Sql } from '../../../src/db/connect.ts';
import type { Database } from '../../../src/db/database.ts';
import { tenantSql } from '../../../src/db/tenant.ts';
import type { TenantSql } from '../../../src/db/tenant.ts';
import { codeOf, messageOf } from '../../../src/errors.ts';
import {
  enqueue as enqueueOf,
  enqueueMany as enqueueManyOf,
} from '../../../src/handlers/client.ts';
import { enqueue, enqueueChild, enqueueMany } from '../../../src/jobs/enqueue.ts';
import { groupFault } from '../../../src/names.ts';
import { invokeWith } from '../../cli/in-process.ts';
import type { Invoke } from '../../cli/in-process.ts';
import { badForms, goodForms, unpassable } from '../../cli/names/forms.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { addJobType, runningJob, step } from '../job-steps.ts';

let test: TestDatabase;
let database: Database;
let sql: Sql;
let pool: Sql;
let tenantId: string;
let handlerSql: TenantSql;
let purser: Invoke;

beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open();
  sql = database.system;
  pool = connect(test.url, { max: 4, applicationName: 'purser test producer' });
  purser = invokeWith({ DATABASE_URL: test.url });
  await addJobType(sql);
});
beforeEach(async () => {
  await sql`delete from tenants`;
  tenantId = await addTenant(sql);
  const { token } = await runningJob(sql, tenantId);
  handlerSql = tenantSql(database.tenant, { token });
});
afterAll(async () => {
  await pool.end();
  await test.close();
});

const jobs = async (): Promise<number> =>
  (await sql`select from jobs where tenant_id = ${tenantId}`).count - 1;

const forms: readonly (readonly [why: string, group: string])[] = [
  ...badForms,
  ['of 201 characters', 'x'.repeat(201)],
  ['of 201 characters of two units', '\u{1f6a2}'.repeat(201)],
  ['the name of a limit', 'user:*'],
  ['the name of a limit for all', ':*'],
];

/** Callers in plain JavaScript have no type check. */
const request = (group: unknown) => ({ tenantId, jobType: step, group: group as string });

const inCode: Readonly<Record<string, (group: unknown) => Promise<unknown>>> = {
  enqueue: (group) => enqueue(sql, { ...request(group), dedupKey: 'k' }),
  'enqueue on a pool': async (group) => {
    const calls = [enqueue(pool, request(undefined)), enqueue(pool, request(group))];
    await Promise.allSettled(calls);
    await Promise.all(calls);
  },
  enqueueMany: (group) => enqueueMany(sql, [request('good'), request(group)]),
  'the typed client': (group) => enqueueOf(sql, step, { tenantId, group: group as string }),
  'enqueueMany of the typed client': (group) =>
    enqueueManyOf(sql, step, [{ tenantId }, { tenantId, group: group as string }]),
  enqueueChild: (group) => enqueueChild(handlerSql, { jobType: step, group: group as string }),
};
const notTexts: readonly (readonly [type: string, group: unknown])[] = [
  ['number', 42],
  ['object', null],
  ['object', ['user:42']],
  ['symbol', Symbol('user')],
  ['boolean', true],
];

it.each(Object.entries(inCode))('%s refuses each, and what is no text', async (door, call) => {
  for (const [why, group] of forms) {
    const error: unknown = await call(group).catch((thrown: unknown) => thrown);
    const said = [why, codeOf(error), messageOf(error)];
    expect(said).toEqual([why, 'invalid_request', groupFault(group)]);
    expect(error).toMatchObject({ details: { class: 'fatal' } });
  }
  for (const [type, group] of notTexts) {
    await expect(call(group)).rejects.toMatchObject({
      code: 'invalid_request',
      message: `the group must be a string, not ${type}`,
    });
  }
  // On the pool, of the calls that were made beside the refused ones.
  const others = door === 'enqueue on a pool' ? forms.length + notTexts.length : 0;
  expect(await jobs()).toBe(others);
});

const inSql: Readonly<Record<string, (group: string) => PromiseLike<unknown>>> = {
  'purser.enqueue': (group) =>
    sql`select purser.enqueue(${tenantId}, ${step}, p_group => ${group})`,
  'purser.enqueue_many': (group) => sql`
    select * from purser.enqueue_many(jsonb_build_array(jsonb_build_object(
      'tenantId', ${tenantId}::text, 'jobType', ${step}::text, 'group', ${group}::text)))`,
  'purser.enqueue_gathered': (group) => sql`
    select * from purser.enqueue_gathered(jsonb_build_array(jsonb_build_object(
      'tenantId', ${tenantId}::text, 'jobType', ${step}::text, 'group', ${group}::text)))`,
  'purser.enqueue_child': (group) =>
    handlerSql`select purser.enqueue_child(${step}, p_group => ${group})`,
};

it.each(Object.entries(inSql))('%s refuses each', async (door, call) => {
  const place = /many|gathered/.test(door) ? 'request 1: ' : '';
  for (const [why, group] of forms) {
    const error: unknown = await Promise.resolve(call(group)).catch((thrown: unknown) => thrown);
    const words = `invalid_request: ${place}${String(groupFault(group))}`;
    const refusal = unpassable.test(group) ? error : { code: 'PU010', message: words };
    expect([why, error]).toEqual([why, expect.any(Error)]);
    expect([why, error]).toMatchObject([why, refusal as object]);
  }
  expect(await jobs()).toBe(0);
});

it.each([
  ['number', '42'],
  ['boolean', 'true'],
  ['array', '["user:42"]'],
  ['object', '{"user": 42}'],
])('purser.enqueue_many refuses a group that is JSON of type %s', async (type, group) => {
  const item = JSON.stringify({ tenantId, jobType: step });
  const items = `[${item}, ${item.slice(0, -1)},"group":${group}}, ${item}]`;
  await expect(sql`select purser.enqueue_many(${items}::text::jsonb)`).rejects.toMatchObject({
    code: 'PU010',
    message: `invalid_request: request 2: the group must be a string, not ${type}`,
  });
  const none = items.replace(`"group":${group}`, '"group":null');
  await sql`select purser.enqueue_many(${none}::text::jsonb)`;
  expect(await jobs()).toBe(3);
});

it('purser enqueue --group refuses the same', async () => {
  const some = new Set(['empty', 'a NUL', 'a zero-width space', 'the name of a limit']);
  for (const [why, group] of forms.filter(([form]) => some.delete(form))) {
    const { code, err } = await purser('enqueue', step, `--tenant=${tenantId}`, `--group=${group}`);
    expect([why, code !== 0, err]).toEqual([why, true, groupFault(group)]);
  }
  expect(some.size).toBe(0);
  expect(await jobs()).toBe(0);
});

it('every name that people use is taken by every door', async () => {
  for (const group of [...goodForms('group'), ':', '*', 'user:*x', 'x:* ok']) {
    for (const [door, call] of [...Object.entries(inCode), ...Object.entries(inSql)]) {
      await sql`delete from job_keys`;
      const before = await jobs();
      await call(group);
      expect([door, group, (await jobs()) > before]).toEqual([door, group, true]);
      const [newest] = await sql`select group_name from jobs order by id desc limit 1`;
      expect([door, newest]).toEqual([door, { group_name: group }]);
    }
  }
  const taken = await purser('enqueue', step, `--tenant=${tenantId}`, '--group=region: eu-west-1');
  expect(taken).toMatchObject({ code: 0 });
  const [newest] = await sql`select group_name from jobs order by id desc limit 1`;
  expect(newest).toEqual({ group_name: 'region: eu-west-1' });
});
