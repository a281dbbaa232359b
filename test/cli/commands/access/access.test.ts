/** `purser operators` and `purser tokens`: who may use the web role, each change on the record and without a secret. */
import { PassThrough } from 'node:stream';
import type { ReadStream } from 'node:tty';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readHidden } from '../../../../src/cli/terminal/hidden-prompt.ts';
import { findOperator } from '../../../../src/operations/operators/operators.ts';
import { passwordMatches } from '../../../../src/operations/operators/passwords.ts';
import { findSession, startSession } from '../../../../src/operations/operators/sessions.ts';
import { findToken } from '../../../../src/operations/operators/tokens.ts';
import { createTurns } from '../../../../src/operations/operators/turns.ts';
import { freshDatabase } from '../../../support/database.ts';
import type { TestDatabase } from '../../../support/database.ts';
import { addTenant } from '../../../support/tenants.ts';
import { invokeWith } from '../../in-process.ts';
import type { Outcome } from '../../in-process.ts';

const password = 'correct horse battery';

let test: TestDatabase;
beforeAll(async () => {
  test = await freshDatabase();
});
afterAll(() => test.close());

const run = (args: readonly string[], input = ''): Promise<Outcome> =>
  invokeWith({ DATABASE_URL: test.url, DASHBOARD_USER: 'root', DASHBOARD_PASSWORD: password }, [
    Buffer.from(input),
  ])(
    ...args,
    ...(/^(add|set-role|set-password|remove|end)$/.test(args[1] ?? '') ? ['--by', 'alice'] : []),
  );
const add = (name: string, role = 'viewer'): Promise<Outcome> =>
  run(['operators', 'add', name, '--role', role], `${password}\n`);
const acts = async (act: string) => test.sql`
  select operator, proof, door, host is not null as "hasHost", target, before, after from operator_acts
  where act = ${act} order by id`;
const recorded = { operator: 'alice', proof: 'asserted', door: 'cli', hasHost: true };

describe('operators', () => {
  it('are added with a hash of the password from stdin, once', async () => {
    expect(await add('bob')).toEqual({
      code: 0,
      out: 'operator bob added with the role viewer',
      err: '',
    });
    expect(await add('bob')).toMatchObject({ code: 1, err: expect.stringContaining('already') });
    const stored = await findOperator(test.sql, 'bob');
    expect(stored?.passwordHash).toMatch(/^scrypt\$32768\$8\$3\$/);
    expect(await passwordMatches(password, stored?.passwordHash)).toBe(true);
    expect(await passwordMatches(`${password}!`, stored?.passwordHash)).toBe(false);
    expect(await acts('operator_add')).toEqual([
      { ...recorded, target: { name: 'bob' }, before: null, after: { role: 'viewer' } },
    ]);
  });

  it.each([
    ['a role that is none', ['operators', 'add', 'x', '--role', 'owner'], 64],
    ['the user of the environment', ['operators', 'add', 'root', '--role', 'admin'], 64],
    ['an unknown operator', ['operators', 'set-role', 'nobody', 'admin'], 1],
    ['an unknown operator', ['operators', 'remove', 'nobody'], 1],
    ['an unknown session', ['operators', 'end', 'nothing'], 1],
    ['no session', ['operators', 'end'], 64],
  ])('%s is refused', async (_, args, code) => {
    expect(await run(args, password)).toMatchObject({ code, out: '' });
  });

  it.each(['short', '', 'aaaaaaaaaaaaaaaa', 'x'.repeat(2_000)])(
    'a password of no use is refused: %#',
    async (weak) => {
      const refused = await run(['operators', 'add', 'weak', '--role', 'viewer'], weak);
      expect(refused.code).toBe(1);
      expect(refused.err).toMatch(/the password/);
      expect(await findOperator(test.sql, 'weak')).toBeUndefined();
    },
  );

  it('change their role and password and are removed, each on record, and their sessions end', async () => {
    await add('carol');
    const session = async (): Promise<string> => {
      const passwordHash = (await findOperator(test.sql, 'carol'))?.passwordHash ?? '';
      const from = { operator: 'carol', address: '192.0.2.1', browser: 'test' };
      return (await startSession(test.sql, { ...from, proof: { passwordHash } })) ?? '';
    };
    const login = { user: 'root', password };
    const steps: [string[], string, string][] = [
      [['operators', 'set-role', 'carol', 'operator'], 'operator_set_role', ''],
      [['operators', 'set-password', 'carol'], 'operator_set_password', `${password} two`],
      [['operators', 'end', '--operator', 'carol'], 'session_end', ''],
      [['operators', 'remove', 'carol'], 'operator_remove', ''],
    ];
    for (const [args, act, input] of steps) {
      const token = await session();
      expect(await findSession(test.sql, token, login)).toMatchObject({ operator: 'carol' });
      expect(await run(args, input)).toMatchObject({ code: 0 });
      expect(await findSession(test.sql, token, login)).toBeUndefined();
      expect(await acts(act)).toMatchObject([{ ...recorded, target: { name: 'carol' } }]);
    }
    expect((await acts('operator_set_role'))[0]).toMatchObject({
      before: { role: 'viewer' },
      after: { role: 'operator' },
    });
  });

  it('keep their sessions where the role stays, which is no act', async () => {
    await add('dora', 'admin');
    await run(['operators', 'set-role', 'dora', 'admin']);
    const [made] = (await acts('operator_set_role')).filter(({ target }) => target.name === 'dora');
    expect(made).toBeUndefined();
  });

  it('and sessions are listed, cut with a note', async () => {
    const passwordHash = (await findOperator(test.sql, 'bob'))?.passwordHash ?? '';
    for (const address of ['192.0.2.1', '192.0.2.2']) {
      const from = { operator: 'bob', address, browser: 'test' };
      await startSession(test.sql, { ...from, proof: { passwordHash } });
    }
    expect((await run(['operators', 'list'])).out).toMatch(/bob +viewer +2 /);
    const cut = await run(['operators', 'sessions', '--limit', '1']);
    expect([cut.out.split('\n').length, cut.err]).toEqual([3, 'the first 1; more with --limit']);
    const listed = (await run(['operators', 'sessions', '--operator', 'bob', '--json'])).out;
    expect(JSON.parse(listed)).toMatchObject([{ address: '192.0.2.2' }, { address: '192.0.2.1' }]);
    expect(listed).not.toMatch(/hash/i);
  });

  it('have no more than twenty sessions each: the oldest ends', async () => {
    const passwordHash = (await findOperator(test.sql, 'bob'))?.passwordHash ?? '';
    const from = { operator: 'bob', address: '', browser: 'x'.repeat(9_000) };
    for (let index = 0; index < 25; index += 1) {
      await startSession(test.sql, { ...from, proof: { passwordHash } });
    }
    const [row] =
      await test.sql`select count(*)::int from operator_sessions where operator = 'bob'`;
    expect(row).toEqual({ count: 20 });
  });
});

describe('tokens', () => {
  it('are printed once, stored hashed, and listed without a secret', async () => {
    const tenant = await addTenant(test.sql);
    const limits = ['--tenant', tenant, '--type', 'finops_analysis'];
    const role = ['--role', 'operator', '--expires', '90d'];
    const added = await run(['tokens', 'add', 'billing', ...role, ...limits]);
    expect(added.code).toBe(0);
    expect(added.out).toMatch(/^purser_[\w-]{43}$/);
    expect(await findToken(test.sql, added.out)).toEqual({
      name: 'billing',
      role: 'operator',
      tenants: [tenant],
      jobTypes: ['finops_analysis'],
    });
    const listed = await run(['tokens', 'list', '--json']);
    expect(JSON.parse(listed.out)).toMatchObject([{ name: 'billing', role: 'operator' }]);
    const rows = await test.sql`select t::text as row from api_tokens t`;
    const written = await test.sql`select a::text as row from operator_acts a`;
    for (const secret of [added.out, added.out.slice('purser_'.length)]) {
      expect(JSON.stringify([rows, written, listed])).not.toContain(secret);
    }
    expect(await acts('token_add')).toMatchObject([{ ...recorded, target: { name: 'billing' } }]);
    expect(await run(['tokens', 'remove', 'billing'])).toMatchObject({ code: 0 });
    expect(await findToken(test.sql, added.out)).toBeUndefined();
    expect(await acts('token_remove')).toMatchObject([
      { ...recorded, before: { role: 'operator', tenants: [tenant] } },
    ]);
  });

  it.each([
    ['without an expiry', [], 64],
    ['that has expired', ['--expires', '2020-01-01'], 64],
    ['for more than a year', ['--expires', '366d'], 64],
    ['for no time', ['--expires', 'tomorrow'], 64],
    ['of a tenant that is none', ['--expires', '1d', '--tenant', 'nobody'], 1],
    ['of a type that is none', ['--expires', '1d', '--type', 'nothing'], 1],
  ])('%s are refused', async (_, more, code) => {
    const refused = await run(['tokens', 'add', 'odd', '--role', 'viewer', ...more]);
    expect([refused.code, refused.out]).toEqual([code, '']);
  });
});

it('hashes of passwords take turns, also after one that failed', async () => {
  const inTurn = createTurns(2);
  const ends: ((fails: boolean) => void)[] = [];
  const work = () =>
    new Promise<void>((resolve, reject) =>
      ends.push((fails) => (fails ? reject(new Error('failed')) : resolve())),
    );
  const all = Promise.allSettled(Array.from({ length: 6 }, () => inTurn(work)));
  for (let ended = 0; ended < 6; ended += 1) {
    await expect.poll(() => ends.length).toBe(Math.min(6, ended + 2));
    ends[ended]?.(ended % 2 === 0);
  }
  expect((await all).map(({ status }) => status)).toEqual(
    Array.from({ length: 6 }, (_, index) => (index % 2 === 0 ? 'rejected' : 'fulfilled')),
  );
  expect(await inTurn(() => Promise.resolve('free'))).toBe('free');
});

describe('at a terminal', () => {
  const typed = async (...keys: string[]): Promise<[string, readonly boolean[]]> => {
    const modes: boolean[] = [];
    const stream = Object.assign(new PassThrough(), {
      setRawMode: (on: boolean) => void modes.push(on),
    });
    const read = readHidden(stream as unknown as ReadStream);
    for (const key of keys) stream.write(key);
    return [await read, modes];
  };

  it('a password is read without being shown, with corrections', async () => {
    expect(await typed('sec', 'rx\u007fet', '\r')).toEqual(['secret', [true, false]]);
    expect((await typed('p\u00e4ss\n'))[0]).toBe('p\u00e4ss');
    await expect(typed('sec\u0003')).rejects.toMatchObject({ code: 'interrupted' });
  });
});
