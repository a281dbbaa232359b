/** Lists go on by cursors: every row once, whatever comes or goes meanwhile. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { enqueue } from '../../../../src/jobs/enqueue.ts';
import { addTenant } from '../../../support/tenants.ts';
import { startFixture } from '../../web-fixture.ts';
import type { WebFixture } from '../../web-fixture.ts';
import { program } from '../api-fixture.ts';
import type { Ask, Json } from '../api-fixture.ts';

let fixture: WebFixture;
let ask: Ask;
beforeAll(async () => {
  fixture = await startFixture();
  const { database, tenantId } = fixture;
  for (let made = 0; made < 7; made += 1) {
    await enqueue(database.system, { tenantId, jobType: 'report' });
    await fixture.deadLetter({ finishedAt: new Date(Date.now() - 1_000 * (made % 3)) });
    await addTenant(database.system, { limitUsd: '1' });
  }
  ask = await program(fixture, 'admin');
  for (let n = 0; n < 5; n += 1) {
    const body = { scope: 'all', reason: `pause ${n}` };
    await ask('/pauses', { body });
  }
});
afterAll(() => fixture.close());

async function allOf(path: string, limit: number, between = async () => {}): Promise<Json[]> {
  const items: Json[] = [];
  let next: string | null = '';
  for (let pages = 0; next !== null; pages += 1) {
    expect(pages).toBeLessThan(50);
    const cursor: string = next === '' ? '' : `&cursor=${next}`;
    const page: Json = (await ask(`${path}limit=${limit}${cursor}`)).json;
    expect(page.items.length).toBeLessThanOrEqual(limit);
    expect(page.next === null || page.items.length === limit).toBe(true);
    items.push(...page.items);
    next = page.next;
    await between();
  }
  return items;
}

describe.each([
  ['/jobs?', 'jobId', 14],
  ['/dead-letters?', 'jobId', 7],
  ['/tenants?', 'tenantId', 8],
  ['/budgets?', 'tenantId', 8],
  ['/audit?act=pause&', 'id', 5],
])('%s', (path, field, count) => {
  it('lists every row once, in pages of any size', async () => {
    const whole = (await allOf(path, 200)).map((row) => row[field]);
    expect(new Set(whole).size).toBe(count);
    for (const limit of [1, 3, count, count + 1]) {
      expect((await allOf(path, limit)).map((row) => row[field])).toEqual(whole);
    }
  });

  it.each([
    ['huge', 'A'.repeat(7_000)],
    ['no base64', '%24%24'],
    ['no JSON', Buffer.from('{').toString('base64url')],
    ['of another list', Buffer.from('["workers","1"]').toString('base64url')],
    [
      'of no place',
      Buffer.from(`["${path.slice(1).split('?')[0]?.replace('-', '_')}",5]`).toString('base64url'),
    ],
    ['empty', ''],
  ])('refuses a cursor that is %s', async (_, cursor) => {
    const answer = await ask(`${path}cursor=${cursor}`);
    expect([answer.status, answer.json.code]).toEqual([400, 'invalid_cursor']);
  });
});

it.each([
  ['jobs', "1' or true"],
  ['jobs', '-1'],
  ['dead_letters', '2026-99-99T00:00:00.000000Z_1'],
  ['dead_letters', '2026-01-01T00:00:00.000000Z_0'],
  ['audit', '0'],
  ['tenants', 'a\0'],
  ['llm_calls', '2026-02-30T00:00:00.000000Z_3f2504e0-4f89-41d3-9a0c-0305e82c3301x'],
  ['llm_calls', '2026-13-30T00:00:00.000000Z_3f2504e0-4f89-41d3-9a0c-0305e82c3301'],
])('a forged place of %s is refused: %j', async (list, place) => {
  const cursor = Buffer.from(JSON.stringify([list, place])).toString('base64url');
  const path = list === 'llm_calls' ? 'llm-calls?state=unknown&' : `${list.replace('_', '-')}?`;
  const answer = await ask(`/${path}cursor=${cursor}`);
  expect([answer.status, answer.json.code]).toEqual([400, 'invalid_cursor']);
});

it('a page goes on where the one before ended, while new jobs come', async () => {
  const { database, tenantId } = fixture;
  const before = (await allOf('/jobs?', 200)).map(({ jobId }) => jobId);
  const seen = (
    await allOf('/jobs?', 4, async () => {
      await enqueue(database.system, { tenantId, jobType: 'report' });
    })
  ).map(({ jobId }) => jobId);
  expect(seen).toEqual(before);
});
