/** What the doors for jobs do with input that nobody should send. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { enqueue, enqueueMany } from '../../src/handlers/client.ts';
import { defineHandler } from '../../src/handlers/define.ts';
import { toJobType } from '../../src/handlers/job-types.ts';
import { registerJobTypes } from '../../src/jobs/registration.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';

const note = defineHandler({
  type: 'note',
  timeoutMs: 1_000,
  maxAttempts: 1,
  payload: z.looseObject({ text: z.string().optional() }),
  run: () => Promise.resolve(),
});
const meeting = defineHandler({
  type: 'meeting',
  timeoutMs: 1_000,
  maxAttempts: 1,
  payload: z.object({ at: z.date() }),
  run: () => Promise.resolve(),
});
const oddTenants = [
  `o'brien "x"; drop table tenants`,
  'two  spaces',
  '\u{1F680} \u00e9',
  '../../etc',
];

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
  await registerJobTypes(database.sql, [note, meeting].map(toJobType));
  for (const id of ['acme', ...oddTenants])
    await database.sql`insert into tenants (id) values (${id})`;
});
afterAll(() => database.close());
beforeEach(async () => {
  await database.sql`delete from background_jobs`;
});

async function jobs(): Promise<{ tenant_id: string; payload: unknown }[]> {
  return [
    ...(await database.sql<{ tenant_id: string; payload: unknown }[]>`
    select tenant_id, payload from background_jobs`),
  ];
}

describe('a payload', () => {
  const huge = { text: 'x'.repeat(50_000_000) };

  it('of 50 MB is refused by the client', async () => {
    await expect(
      enqueue(database.sql, note, { tenantId: 'acme', payload: huge }),
    ).rejects.toMatchObject({
      code: 'payload_too_large',
      message: expect.stringMatching(/1 MiB|1,?048,?576/),
    });
    expect(await jobs()).toEqual([]);
  });

  it('of 50 MB is refused by purser.enqueue too', async () => {
    const text = JSON.stringify(huge);
    await expect(
      database.sql`select * from purser.enqueue('acme', 'note', ${text}::text::jsonb)`,
    ).rejects.toThrow(/1 MiB|1,?048,?576/);
    expect(await jobs()).toEqual([]);
  });

  it('with a key __proto__ is stored with it and changes no prototype', async () => {
    const payload: Record<string, unknown> = JSON.parse(
      '{"__proto__": {"admin": true}, "text": "x"}',
    );
    await enqueue(database.sql, note, { tenantId: 'acme', payload });
    const [job] = await jobs();
    expect(JSON.stringify(job?.payload)).toContain('"__proto__":{"admin":true}');
    expect('admin' in {}).toBe(false);
  });

  it.each([
    ['a value', { text: 'a\u0000b' }],
    ['a key', { 'a\u0000b': 1 }],
  ])('with a NUL in %s is refused and stores nothing', async (_where, payload) => {
    await expect(enqueue(database.sql, note, { tenantId: 'acme', payload })).rejects.toMatchObject({
      code: 'invalid_payload',
      message: expect.stringContaining('NUL'),
    });
    expect(await jobs()).toEqual([]);
  });
});

describe('a number beyond 2^53', () => {
  const large = '12345678901234567890';
  const places = [`{"id": ${large}}`, `{"list": [{"id": -${large}}]}`, '{"id": 9007199254740993}'];

  it.each(places)('in %s is refused by the client, naming the field', async (text) => {
    const payload: object = JSON.parse(text);
    for (const type of [note, 'note'] as const) {
      const given = { tenantId: 'acme', payload: { text: 'x', ...payload } };
      await expect(enqueue(database.sql, type, given)).rejects.toMatchObject({
        code: 'invalid_payload',
        message: expect.stringMatching(
          /field "id" is a number beyond 9007199254740991 .* as a string/,
        ),
      });
    }
    expect(await jobs()).toEqual([]);
  });

  it('as a bigint is refused too', async () => {
    const payload = { text: 'x', id: 1n };
    await expect(enqueue(database.sql, 'note', { tenantId: 'acme', payload })).rejects.toThrow(
      /field "id" is a bigint, which JSON cannot represent/,
    );
  });

  it.each([...places, '{"id": 1e300}'])('in %s is refused by SQL', async (text) => {
    for (const statement of [
      database.sql`select * from purser.enqueue('acme', 'note', ${text}::text::jsonb)`,
      database.sql`
        select * from purser.enqueue_many(${`[{"tenantId": "acme", "jobType": "note", "payload": ${text}}]`}::text::jsonb)`,
    ]) {
      await expect(statement).rejects.toThrow(/has a number beyond 9007199254740991/);
    }
    expect(await jobs()).toEqual([]);
  });

  it('up to it is stored exactly', async () => {
    const text = '{"text": "x", "ids": [9007199254740991, -9007199254740991, 0.5]}';
    await enqueue(database.sql, note, { tenantId: 'acme', payload: JSON.parse(text) });
    await database.sql`select * from purser.enqueue('acme', 'note', ${text}::text::jsonb)`;
    for (const { payload } of await jobs()) expect(payload).toEqual(JSON.parse(text));
  });
});

describe('a payload that fits its schema only before it is stored', () => {
  it('is refused before anything is written, with a schema that would fit', async () => {
    const request = { tenantId: 'acme', payload: { at: new Date(0) } };
    const refusal = {
      code: 'invalid_payload',
      message: expect.stringMatching(/^payload of meeting: at: .*z\.coerce\.date\(\)$/),
    };
    await expect(enqueue(database.sql, meeting, request)).rejects.toMatchObject(refusal);
    await expect(enqueueMany(database.sql, meeting, [request])).rejects.toMatchObject(refusal);
    expect(await jobs()).toEqual([]);
  });
});

describe('a call from JavaScript', () => {
  it.each([
    ['no tenant', {}, 'the tenant id must be a string, not undefined'],
    ['a tenant that is a number', { tenantId: 5 }, 'the tenant id must be a string, not number'],
    [
      'a dedup key that is a number',
      { tenantId: 'acme', dedupKey: 5 },
      'the dedup key must be a string, not number',
    ],
    [
      'a time that is a string',
      { tenantId: 'acme', runAt: '2031-01-01' },
      'runAt must be a valid Date before the year 9999',
    ],
  ])('%s is refused with its name', async (_what, request, message) => {
    // What a compiler would not let through.
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion
    const given = request as unknown as { tenantId: string };
    await expect(enqueue(database.sql, note, given)).rejects.toMatchObject({
      code: 'invalid_request',
      message,
    });
    await expect(enqueueMany(database.sql, note, [given])).rejects.toMatchObject({
      code: 'invalid_request',
      message,
    });
  });
});

describe('a tenant id', () => {
  it.each(oddTenants)('%j is stored unchanged', async (tenantId) => {
    await enqueue(database.sql, note, { tenantId });
    expect(await jobs()).toMatchObject([{ tenant_id: tenantId }]);
  });

  it.each(["nobody' or '1'='1", 'x'.repeat(300), '', '\u{1F4A5}'])(
    '%j of nobody is unknown, and no job is made',
    async (tenantId) => {
      await expect(enqueue(database.sql, note, { tenantId })).rejects.toMatchObject({
        code: 'unknown_tenant',
      });
      expect(await jobs()).toEqual([]);
    },
  );

  it.each([
    ['300 characters', 'x'.repeat(300)],
    ['nothing', ''],
  ])('of %s is refused by the table', async (_what, id) => {
    await expect(database.sql`insert into tenants (id) values (${id})`).rejects.toMatchObject({
      code: 'PU011',
    });
  });
});

describe('what would be left out without a word', () => {
  it.each<[string, unknown]>([
    ['Map', new Map([[1, 2]])],
    ['Set', new Set([1])],
    ['Promise', Promise.resolve(1)],
    ['RegExp', /x/],
    ['Error', new Error('x')],
    ['function', () => {}],
    ['symbol', Symbol('x')],
    ['bigint', 1n],
  ])('a %s in a payload is refused', async (what, value) => {
    const refused = {
      code: 'invalid_payload',
      message: expect.stringMatching(new RegExp(`is a ${what}, which JSON cannot represent`)),
    };
    const request = { tenantId: 'acme', payload: { deep: [{ value }] } };
    await expect(enqueue(database.sql, 'note', request)).rejects.toMatchObject(refused);
    await expect(enqueueMany(database.sql, 'note', [request])).rejects.toMatchObject(refused);
    expect(await jobs()).toEqual([]);
  });

  it('as a whole payload is refused', async () => {
    const request = { tenantId: 'acme', payload: new Map([[1, 2]]) };
    const message = expect.stringContaining('the payload is a Map');
    await expect(enqueue(database.sql, 'note', request)).rejects.toMatchObject({ message });
  });

  it.each(['runat', 'dedupkey', 'delay'])('an option %s is refused', async (name) => {
    const request = { tenantId: 'acme', payload: {}, [name]: 1 };
    const refused = {
      code: 'invalid_request',
      message: expect.stringContaining(`no option "${name}"`),
    };
    await expect(enqueue(database.sql, 'note', request)).rejects.toMatchObject(refused);
    await expect(enqueueMany(database.sql, 'note', [request])).rejects.toMatchObject(refused);
    expect(await jobs()).toEqual([]);
  });

  it('an option that only enqueue has is refused by enqueueMany', async () => {
    const request = { tenantId: 'acme', payload: {}, onDuplicate: 'reject' };
    await expect(enqueueMany(database.sql, 'note', [request])).rejects.toMatchObject({
      message: expect.stringContaining('enqueueMany has no option "onDuplicate"'),
    });
  });
});
