/** What handlers logged is kept in order, bounded, and no line costs another its place. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Sql } from '../../src/db/connect.ts';
import type { Database } from '../../src/db/database.ts';
import { findJob } from '../../src/jobs/inspect.ts';
import { listLogLines, storeLogLines } from '../../src/jobs/log-lines.ts';
import type { LogReport } from '../../src/jobs/log-lines.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant } from '../support/tenants.ts';
import { addJob, addJobType } from './job-steps.ts';

let test: TestDatabase;
let database: Database;
let sql: Sql;
let tenantId: string;
let jobId: string;

beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open({ systemConnections: 6 });
  sql = database.system;
  await addJobType(sql);
});
beforeEach(async () => {
  tenantId = await addTenant(sql);
  jobId = await addJob(sql, tenantId);
});
afterAll(() => test.close());

const at = '2026-03-04T05:06:07.089Z';
const line = (text: string) => ({ at, level: 'info', text });
const report = (texts: readonly string[], overrides: Partial<LogReport> = {}): LogReport => ({
  jobId,
  tenantId,
  attempt: 1,
  lines: texts.map(line),
  ...overrides,
});
const numbered = (from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, n) => `line ${from + n}`);
const all = (id = jobId) => listLogLines(sql, id, 1_000_000);
const texts = async (id = jobId) => (await all(id)).map(({ text }) => text);

it('lines are kept in the order of their reports, with time, attempt and level', async () => {
  expect(await storeLogLines(sql, [report(['one', 'two'])])).toBe(2);
  await storeLogLines(sql, [
    report([], { attempt: 2, lines: [{ at, level: 'warn', text: 'three' }] }),
  ]);
  expect(await all()).toEqual([
    { lineNo: 1, attempt: 1, at: new Date(at), level: 'info', text: 'one' },
    { lineNo: 2, attempt: 1, at: new Date(at), level: 'info', text: 'two' },
    { lineNo: 3, attempt: 2, at: new Date(at), level: 'warn', text: 'three' },
  ]);
});

it('one call stores lines of many jobs, and several reports of one job', async () => {
  const second = await addJob(sql, tenantId);
  const stored = await storeLogLines(sql, [
    report(['a1', 'a2']),
    report(['b1'], { jobId: second }),
    report(['a3']),
  ]);
  expect(stored).toBe(4);
  expect([await texts(), await texts(second)]).toEqual([['a1', 'a2', 'a3'], ['b1']]);
  expect(await storeLogLines(sql, [])).toBe(0);
});

describe('the limit of lines', () => {
  it('keeps the first 500 lines of a job and says once that there were more', async () => {
    await storeLogLines(sql, [report(numbered(1, 300))]);
    expect(await storeLogLines(sql, [report(numbered(301, 800))])).toBe(201);
    expect(await storeLogLines(sql, [report(['later'], { attempt: 2 })])).toBe(0);
    const kept = await all();
    expect(kept.map(({ text }) => text)).toEqual([
      ...numbered(1, 500),
      'there were more: the first 500 lines of a job are kept',
    ]);
    expect(kept.at(-1)).toMatchObject({ lineNo: 501, level: 'warn' });
  });

  it('adds no such line after exactly 500', async () => {
    await storeLogLines(sql, [report(numbered(1, 500))]);
    expect((await texts()).at(-1)).toBe('line 500');
  });

  it('applies to one long report among short ones', async () => {
    const second = await addJob(sql, tenantId);
    await storeLogLines(sql, [
      report(numbered(1, 20_000)),
      report(['short'], { jobId: second }),
      report(numbered(1, 900), { jobId: second }),
    ]);
    expect(await all()).toHaveLength(501);
    expect((await texts(second)).slice(0, 2)).toEqual(['short', 'line 1']);
    expect(await all(second)).toHaveLength(501);
  });

  it('applies to four concurrent writers, and every line is stored once', async () => {
    const writers = ['a', 'b', 'c', 'd'].map(async (name) => {
      for (let n = 0; n < 10; n += 1) {
        await storeLogLines(sql, [report([1, 2, 3].map((i) => `${name}${n * 3 + i}`))]);
      }
    });
    await Promise.all(writers);
    const kept = await all();
    expect(kept.map(({ lineNo }) => lineNo)).toEqual(numbered(1, 120).map((_, n) => n + 1));
    for (const name of ['a', 'b', 'c', 'd']) {
      const own = kept.map(({ text }) => text).filter((text) => text.startsWith(name));
      expect(own).toEqual(Array.from({ length: 30 }, (_, n) => `${name}${n + 1}`));
    }
  });
});

describe('a line', () => {
  it('of more than 2,000 characters is cut, and says so', async () => {
    await storeLogLines(sql, [report(['x'.repeat(2_000), 'y'.repeat(2_001), 'z'.repeat(1e6)])]);
    const [whole, cut, huge] = await texts();
    expect(whole).toBe('x'.repeat(2_000));
    expect(cut).toMatch(/^y+ \[cut at 2000\]$/);
    expect([cut?.length, huge?.length]).toEqual([2_000, 2_000]);
  });

  it.each([
    ['NUL', 'a\u0000b', 'a\uFFFDb'],
    ['half a surrogate pair', 'a\uD800b', 'a\uFFFDb'],
    ['quotes, backslashes and line ends', `'"\\u0000\\ \n\t`, `'"\\u0000\\ \n\t`],
    [
      'a pair that the cut parts',
      `${'x'.repeat(1_985)}\u{1F389}${'y'.repeat(50)}`,
      `${'x'.repeat(1_985)}\uFFFD [cut at 2000]`,
    ],
    ['2,000 pairs', '\u{1F389}'.repeat(1_000), '\u{1F389}'.repeat(1_000)],
    ['nothing', '', ''],
  ])('with %s sinks no other line', async (_what, text, kept) => {
    await storeLogLines(sql, [report(['before', text, 'after'])]);
    expect(await texts()).toEqual(['before', kept, 'after']);
  });

  it.each(['', 'yesterday', '+275760-09-13T00:00:00.000Z', '-271821-04-20T00:00:00.000Z'])(
    'whose time is %j gets a time that can be stored',
    async (time) => {
      await storeLogLines(sql, [
        report([], { lines: [{ at: time, level: 'info\u0000'.repeat(9), text: 'kept' }] }),
      ]);
      const [kept] = await all();
      expect(kept).toMatchObject({ text: 'kept', at: expect.any(Date) });
      expect(Math.abs((kept?.at.getTime() ?? 0) - Date.now())).toBeLessThan(600_000);
    },
  );

  it('of a deleted job, or of another tenant, is left out, and the rest is stored', async () => {
    const gone = await addJob(sql, tenantId);
    await sql`delete from background_jobs where id = ${gone}`;
    const stranger = await addTenant(sql);
    const stored = await storeLogLines(sql, [
      report(['lost'], { jobId: gone }),
      report(['forged'], { tenantId: stranger }),
      report(['kept']),
    ]);
    expect([stored, await texts(), await texts(gone)]).toEqual([1, ['kept'], []]);
  });

  it('of a job that is deleted concurrently is left out, and the rest is stored', async () => {
    const going = await addJob(sql, tenantId);
    let stored: Promise<number> | undefined;
    await sql.begin(async (tx) => {
      await tx`delete from background_jobs where id = ${going}`;
      stored = storeLogLines(sql, [report(['lost'], { jobId: going }), report(['kept'])]);
      stored.catch(() => {});
      await expect
        .poll(async () => {
          const waiting = await test.sql`
            select from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'`;
          return waiting.length;
        })
        .toBeGreaterThan(0);
    });
    expect([await stored, await texts()]).toEqual([1, ['kept']]);
  });
});

describe('lines', () => {
  it('are deleted with their job', async () => {
    await storeLogLines(sql, [report(['one'])]);
    await sql`delete from tenants where id = ${tenantId}`;
    expect(await sql`select from job_log_lines where tenant_id = ${tenantId}`).toHaveLength(0);
  });

  it('the newest 50 are shown with their job, or as many as requested', async () => {
    await storeLogLines(sql, [report(numbered(1, 120))]);
    const shown = async (count?: number) =>
      (await findJob(sql, jobId, count))?.logs.map(({ text }) => text);
    expect(await shown()).toEqual(numbered(71, 120));
    expect(await shown(3)).toEqual(numbered(118, 120));
    expect(await shown(0)).toEqual([]);
  });

  it('cannot be read by the tenant role', async () => {
    const [may] = await sql`
      select has_table_privilege('purser_tenant', 'job_log_lines', 'select, insert, update, delete')
          or has_table_privilege('purser_tenant', 'pauses', 'select, insert, update, delete') as any`;
    expect(may).toEqual({ any: false });
  });
});
