/** Logins of browsers. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addOperator } from '../../../src/operations/operators/operators.ts';
import { localPath } from '../../../src/web/access/local-path.ts';
import { Browser, hiddenFields } from '../browser.ts';
import { credentials, refusing, startFixture } from '../web-fixture.ts';
import type { WebFixture } from '../web-fixture.ts';
import { addOperators, browserOf, by, password, quickHash } from './access-fixture.ts';

let fixture: WebFixture;
beforeAll(async () => {
  fixture = await startFixture();
  await addOperators(fixture);
});
afterAll(() => fixture.close());

const https = { 'x-forwarded-proto': 'https' };
const isIn = async (browser: Browser): Promise<boolean> =>
  (await browser.get('/audit')).status === 200;
const sql = () => fixture.database.system;

describe('a login', () => {
  it.each([
    ['a named operator', 'the viewer', password],
    ['the operator of the environment', credentials.user, credentials.password],
  ])('lets %s in', async (_, user, secret) => {
    const browser = new Browser(fixture.url);
    expect(await isIn(browser)).toBe(false);
    const answer = await browser.logIn(user, secret);
    expect([answer.status, answer.headers.get('location')]).toEqual([303, '/']);
    expect((await browser.get('/audit')).text).toContain(user);
  });

  it.each([
    ['a wrong password', 'the viewer', 'a wrong password'],
    ['no password', 'the viewer', ''],
    ['the password of another', 'the viewer', credentials.password],
    ['a name that is nobody', 'nobody', password],
    ['a name that the database cannot hold', 'a\0b', password],
    ['a wrong password of the environment', credentials.user, password],
    ['a password of a megabyte', 'the viewer', 'x'.repeat(60_000)],
  ])('refuses %s with the same words', async (_, user, secret) => {
    const browser = new Browser(fixture.url);
    const answer = await browser.logIn(user, secret);
    expect(answer.status).toBe(401);
    expect(answer.text).toContain('The name or the password is wrong.');
    expect(await isIn(browser)).toBe(false);
    expect(browser.cookie('purser_session')).toBeUndefined();
  });

  it('lets no named operator in by the name of the environment', async () => {
    const passwordHash = quickHash();
    const added = { name: credentials.user, role: 'viewer' as const, passwordHash };
    await sql().begin((tx) => addOperator(tx, by, added));
    const answer = await new Browser(fixture.url).logIn(credentials.user, password);
    expect(answer.status).toBe(401);
  });

  it('has cookies that no script reads and no other site sends, behind https with __Host-', async () => {
    const plain = await new Browser(fixture.url).logIn('the viewer', password);
    const secure = await new Browser(fixture.url, https).logIn('the viewer', password);
    const named = (cookies: readonly string[], name: string) =>
      cookies.filter((cookie) => cookie.startsWith(`${name}=`) && !/max-age=0/i.test(cookie));
    for (const name of ['purser_session', 'purser_device']) {
      const [one = ''] = named(plain.cookies, name);
      expect(one).toMatch(/HttpOnly/);
      expect(one).toMatch(/SameSite=Strict/);
      expect(one).not.toMatch(/Secure/);
      const [other = ''] = named(secure.cookies, `__Host-${name}`);
      expect(other).toMatch(/Path=\/; HttpOnly; Secure; SameSite=Strict|Secure/);
      expect(other).not.toMatch(/Domain/i);
    }
  });

  it('behind https takes no cookie that another host of the domain could have set', async () => {
    const browser = new Browser(fixture.url, https);
    await browser.logIn('the viewer', password);
    expect(await isIn(browser)).toBe(true);
    browser.cookies.set('purser_session', browser.cookie('purser_session') ?? '');
    browser.cookies.delete('__Host-purser_session');
    expect(await isIn(browser)).toBe(false);
  });

  it('starts a new session, whatever cookie came with it, and ends the one that was there', async () => {
    const planted = new Browser(fixture.url);
    planted.cookies.set('purser_session', 'A'.repeat(43));
    await planted.logIn('the viewer', password);
    const first = planted.cookie('purser_session') ?? '';
    expect(first).not.toBe('A'.repeat(43));
    await planted.logIn('the viewer', password);
    const thief = new Browser(fixture.url);
    thief.cookies.set('purser_session', first);
    expect([await isIn(planted), await isIn(thief)]).toEqual([true, false]);
  });

  it('leads to a page of this host, whatever its page and its form say', async () => {
    const leads = async (next: string): Promise<unknown> =>
      (await new Browser(fixture.url).logIn('the viewer', password, next)).headers.get('location');
    expect(await leads('/audit?act=replay')).toBe('/audit?act=replay');
    expect(await leads('//evil.example')).toBe('/');
    const browser = new Browser(fixture.url);
    const fields = hiddenFields((await browser.get('/login')).text);
    const form = { ...fields, user: 'the viewer', password, next: '/\\evil.example' };
    expect((await browser.post('/login', form)).headers.get('location')).toBe('/');
  });

  it.each([
    '//evil.example',
    '/\\evil.example',
    '/\t/evil.example',
    '\\\\evil.example',
    'https://evil.example/',
    'javascript:alert(1)',
    '/.//evil.example',
    '/audit\r\nSet-Cookie: a=b',
    '/login?next=/login',
    '/logout',
    'audit',
    '',
    `/${'x'.repeat(5_000)}`,
  ])('takes %j for no page of this host', (next) => {
    expect(localPath(next)).toBe('/');
  });

  it('is refused without the token of its page, and from another site', async () => {
    const browser = new Browser(fixture.url);
    const fields = hiddenFields((await browser.get('/login')).text);
    const form = { ...fields, user: 'the viewer', password };
    const statuses = await Promise.all([
      browser.post('/login', { ...form, csrf: '' }),
      browser.post('/login', { ...form, csrf: 'A'.repeat(43) }),
      browser.post('/login', form, { origin: 'https://evil.example' }),
      browser.post('/login', form, { 'sec-fetch-site': 'cross-site' }),
      new Browser(fixture.url).post('/login', form),
    ]);
    expect(statuses.map(({ status }) => status)).toEqual([403, 403, 403, 403, 403]);
    expect((await browser.post('/login', form)).status).toBe(303);
  });

  it('stores no token and no password, and logs neither', async () => {
    const browser = await browserOf(fixture, 'viewer');
    const rows = await sql()`select * from operator_sessions`;
    const stored = await sql()`select * from operators`;
    const texts = JSON.stringify([rows, stored]) + fixture.logged.join('');
    for (const secret of [browser.cookie('purser_session') ?? '', password]) {
      expect(texts).not.toContain(secret);
    }
  });
});

describe('guesses at an account', () => {
  it('delay neither an open session nor a browser that logged in before, from whatever address', async () => {
    const options = { loginPaces: refusing, trustedProxies: ['127.0.0.1'] };
    const attacked = await startFixture(undefined, options);
    try {
      await addOperators(attacked);
      const from = (address: string) => ({ 'x-forwarded-for': address });
      const open = new Browser(attacked.url, from('203.0.113.1'));
      await open.logIn('the operator', password);
      const guess = async (index: number) => {
        const guesser = new Browser(attacked.url, from(`198.51.100.${index}`));
        return (await guesser.logIn('the operator', 'a wrong guess')).status;
      };
      const statuses = await Promise.all(Array.from({ length: 40 }, (_, index) => guess(index)));
      expect(statuses.filter((status) => status === 429)).toHaveLength(20);
      expect((await open.get('/audit')).status).toBe(200);
      const stranger = new Browser(attacked.url, from('203.0.113.2'));
      expect((await stranger.logIn('the operator', password)).status).toBe(429);
      const traveller = new Browser(attacked.url, from('203.0.113.3'));
      traveller.cookies.set('purser_device', open.cookie('purser_device') ?? '');
      expect((await traveller.logIn('the operator', password)).status).toBe(303);
      // It is of this account only, and made by nobody else.
      const other = new Browser(attacked.url, from('203.0.113.4'));
      other.cookies.set('purser_device', `${'A'.repeat(22)}${'B'.repeat(43)}`);
      expect((await other.logIn('the operator', password)).status).toBe(429);
    } finally {
      await attacked.close();
    }
  });
});
