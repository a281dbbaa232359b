/** What every page of the console keeps to: strict headers, no markup of others, cursors, and its own files only. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { roles } from '../../../src/operations/operators/roles.ts';
import type { Role } from '../../../src/operations/operators/roles.ts';
import type { Answer, Browser } from '../browser.ts';
import { startFixture } from '../web-fixture.ts';
import type { WebFixture } from '../web-fixture.ts';
import { addOperators, browserOf, makeToken } from './access-fixture.ts';

let fixture: WebFixture;
const browsers = new Map<Role, Browser>();
beforeAll(async () => {
  fixture = await startFixture();
  await addOperators(fixture);
  for (const role of roles) browsers.set(role, await browserOf(fixture, role));
});
afterAll(() => fixture.close());

describe('the pages', () => {
  it('send strict headers: no inline script or style, no frame, no cache, no other host', async () => {
    const paths = ['/login', '/audit', '/access', '/nowhere'];
    for (const path of paths) {
      const { headers, text } = (await browsers.get('admin')?.get(path)) ?? { text: '' };
      const policy = headers?.get('content-security-policy') ?? '';
      expect([path, policy]).toEqual([path, expect.stringContaining("default-src 'none'")]);
      expect(policy).not.toMatch(/unsafe|https?:|\*/);
      expect(headers?.get('x-frame-options')).toBe('DENY');
      expect(headers?.get('x-content-type-options')).toBe('nosniff');
      expect(headers?.get('cache-control')).toBe('no-store');
      expect(text).not.toMatch(/https?:\/\/|<script(?![^>]* src=)|<style|\son\w+=|\sstyle=/);
      for (const [, file = ''] of text.matchAll(/(?:href|src)="(\/assets\/[^"]+)"/g)) {
        const asset = await fetch(`${fixture.url}${file}`);
        expect([file, asset.status]).toEqual([file, 200]);
        expect(asset.headers.get('cache-control')).toContain('max-age');
      }
    }
  });

  it('show what others wrote as text', async () => {
    const script = '"><script>alert(1)</script>';
    const name = `a ${script}`;
    await makeToken(fixture, { name });
    const pages = [
      await browsers.get('admin')?.get('/access'),
      await browsers.get('admin')?.get('/audit'),
      await browsers.get('admin')?.get(`/audit?operator=${encodeURIComponent(script)}`),
      await browsers.get('admin')?.get(`/login?next=${encodeURIComponent(`/${script}`)}`),
    ];
    for (const page of pages) {
      expect(page?.status).toBe(200);
      expect(page?.text).not.toContain('<script>alert');
    }
    expect(pages[0]?.text).toContain('a &quot;&gt;&lt;script&gt;');
  });

  it('page through the acts with a cursor, and refuse what is no cursor', async () => {
    const { system } = fixture.database;
    await system`
      insert into operator_acts (operator, proof, door, act, target)
      select 'pager', 'asserted', 'cli', 'walk', jsonb_build_object('n', n) from generate_series(1, 120) n`;
    const seen: string[] = [];
    for (let path: string | undefined = '/audit?operator=pager'; path !== undefined;) {
      const page: Answer | undefined = await browsers.get('viewer')?.get(path);
      const text: string = page?.text ?? '';
      seen.push(...[...text.matchAll(/&quot;n&quot;:(\d+)/g)].map(([, n = '']) => n));
      path = /href="(\/audit\?[^"]*before=[^"]*)"/.exec(text)?.[1]?.replaceAll('&amp;', '&');
    }
    expect(seen).toEqual(Array.from({ length: 120 }, (_, index) => String(120 - index)));
    for (const wrong of ['before=x', 'job=1;drop', 'operator=%00']) {
      expect((await browsers.get('viewer')?.get(`/audit?${wrong}`))?.status).toBe(400);
    }
  });

  it('are not found outside of their folder', async () => {
    for (const path of ['/assets/../app.js', '/assets/%2e%2e%2fapp.js', '/assets/console.css']) {
      const answer = await browsers.get('admin')?.get(path);
      expect([path, answer?.status]).toEqual([path, 404]);
    }
  });

  it('and every other route refuse a large body', async () => {
    const answer = await browsers.get('admin')?.post('/access/remove-token', {
      name: 'x'.repeat(70_000),
    });
    expect(answer?.status).toBe(413);
    const large = new URLSearchParams({ password: 'x'.repeat(10_000_000) });
    const login = await fetch(`${fixture.url}/login`, { method: 'POST', body: large });
    expect(login.status).toBe(413);
  });
});
