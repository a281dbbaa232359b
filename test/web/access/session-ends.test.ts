/** Sessions of browsers, and what ends them. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  addOperator,
  findOperator,
  removeOperator,
  setPassword,
  setRole,
} from '../../../src/operations/operators/operators.ts';
import { findSession, startSession } from '../../../src/operations/operators/sessions.ts';
import { Browser, hiddenFields } from '../browser.ts';
import { credentials, startFixture } from '../web-fixture.ts';
import type { WebFixture } from '../web-fixture.ts';
import { actsOf, addOperators, browserOf, by, password, quickHash } from './access-fixture.ts';

let fixture: WebFixture;
beforeAll(async () => {
  fixture = await startFixture();
  await addOperators(fixture);
});
afterAll(() => fixture.close());

const isIn = async (browser: Browser): Promise<boolean> =>
  (await browser.get('/audit')).status === 200;
const sql = () => fixture.database.system;

describe('a session', () => {
  it('ends by logout, for the browser and for whoever has its cookie', async () => {
    const browser = await browserOf(fixture, 'operator');
    const copy = new Browser(fixture.url);
    copy.cookies.set('purser_session', browser.cookie('purser_session') ?? '');
    const { text } = await browser.get('/audit');
    expect((await browser.post('/logout', { csrf: 'wrong' })).status).toBe(403);
    expect(await isIn(copy)).toBe(true);
    const answer = await browser.post('/logout', hiddenFields(text, '/logout'));
    expect([answer.status, answer.headers.get('location')]).toEqual([303, '/login']);
    expect([await isIn(browser), await isIn(copy)]).toEqual([false, false]);
  });

  it.each<[string, () => Promise<unknown>]>([
    [
      'a change of the role',
      () => sql().begin((tx) => setRole(tx, by, { name: 'changed', role: 'viewer' })),
    ],
    [
      'a new password',
      () =>
        sql().begin((tx) =>
          setPassword(tx, by, { name: 'changed', passwordHash: 'scrypt$1$1$1$AA$AA' }),
        ),
    ],
    [
      'the removal of its operator',
      () => sql().begin((tx) => removeOperator(tx, by, { name: 'changed' })),
    ],
    [
      '8 hours without a request',
      () => sql()`update operator_sessions set seen_at = now() - interval '8 hours'`,
    ],
    ['24 hours', () => sql()`update operator_sessions set expires_at = now()`],
  ])('ends by %s', async (_, end) => {
    await sql()`delete from operators where name = 'changed'`;
    const passwordHash = quickHash();
    const changed = { name: 'changed', role: 'operator' as const, passwordHash };
    await sql().begin((tx) => addOperator(tx, by, changed));
    const browser = new Browser(fixture.url);
    await browser.logIn('changed', password);
    expect(await isIn(browser)).toBe(true);
    await end();
    expect(await isIn(browser)).toBe(false);
  });

  it('does not begin with a password that was changed since it was checked', async () => {
    const stored = await findOperator(sql(), 'the operator');
    const passwordHash = stored?.passwordHash ?? '';
    const session = { operator: 'the operator', address: '', browser: '' };
    let begun: Promise<string | undefined> | undefined;
    const other = quickHash();
    await sql().begin(async (tx) => {
      await setPassword(tx, by, { name: 'the operator', passwordHash: other });
      begun = startSession(sql(), { ...session, proof: { passwordHash } });
      // It waits for the row.
      await expect
        .poll(async () => {
          const [row] = await fixture.test.sql<{ count: number }[]>`
            select count(*)::int from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'`;
          return row?.count;
        })
        .toBe(1);
    });
    expect(await begun).toBeUndefined();
    expect(await startSession(sql(), { ...session, proof: { passwordHash: other } })).toBeDefined();
  });

  it('of the environment ends with its password, in a process that has another one', async () => {
    const browser = new Browser(fixture.url);
    await browser.logIn(credentials.user, credentials.password);
    const token = browser.cookie('purser_session') ?? '';
    expect(await findSession(sql(), token, credentials)).toMatchObject({ role: 'admin' });
    for (const other of [{ password: 'another password' }, { user: 'somebody' }]) {
      expect(await findSession(sql(), token, { ...credentials, ...other })).toBeUndefined();
    }
  });

  it('is ended by an administrator on its page, which is recorded with their name', async () => {
    const admin = await browserOf(fixture, 'admin');
    const victim = await browserOf(fixture, 'viewer');
    const page = await admin.get('/access');
    const row = page.text.split('<tr>').find((text) => text.includes('<td>the viewer'));
    const fields = hiddenFields(row ?? '', '/access/end-session');
    const wrong = await admin.post('/access/end-session', { ...fields, csrf: 'x' });
    const unknown = await admin.post('/access/end-session', { ...fields, id: 'x' });
    expect([wrong.status, unknown.status]).toEqual([403, 404]);
    expect((await admin.post('/access/end-session', fields)).status).toBe(303);
    const [last] = (await actsOf(fixture, 'session_end')).slice(-1);
    expect(last).toEqual({
      operator: 'the admin',
      proof: 'session',
      door: 'console',
      target: { name: 'the viewer', session: fields['id'] },
      before: null,
    });
    await sql()`delete from operator_sessions where operator = 'the viewer' and id::text <> ${fields['id'] ?? ''}`;
    expect([await isIn(victim), await isIn(admin)]).toContainEqual(true);
  });

  it('with a link of another site the browser asks again, now with its cookie', async () => {
    const from = { 'sec-fetch-mode': 'navigate', 'sec-fetch-site': 'cross-site' };
    const stranger = new Browser(fixture.url);
    const answer = await stranger.get('/audit?act=x', from);
    expect(answer.status).toBe(200);
    expect(answer.text).toContain('content="0;url=/audit?act=x"');
    const elsewhere = await stranger.get('//evil.example/x', from);
    expect(elsewhere.text).not.toContain('evil.example');
    const again = await stranger.get('/audit?act=x', { ...from, 'sec-fetch-site': 'same-origin' });
    expect([again.status, again.headers.get('location')]).toEqual([
      302,
      '/login?next=%2Faudit%3Fact%3Dx',
    ]);
  });
});
