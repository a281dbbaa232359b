/** Which dead letters a filter takes, and their pages. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Sql } from '../../../src/db/connect.ts';
import type { AttemptEnd } from '../../../src/jobs/attempts.ts';
import { countDeadLetters, listDeadLetters } from '../../../src/jobs/dead-letters.ts';
import { deadLettersMatching } from '../../../src/jobs/search/dead-letters.ts';
import type { JobFilter } from '../../../src/jobs/search/filter.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';
import { addJobType, begin, claimJob, finish, runningJob, step } from '../job-steps.ts';
import { again, endedJob, exhausted, fatal } from './ends.ts';

let test: TestDatabase;
let sql: Sql;
let tenantId: string;

beforeAll(async () => {
  test = await freshDatabase();
  ({ sql } = test);
  await addJobType(sql);
});
beforeEach(async () => {
  await sql`delete from tenants`;
  tenantId = await addTenant(sql);
});
afterAll(() => test.close());

const ended = (end: Partial<AttemptEnd>, tenant = tenantId): Promise<string> =>
  endedJob(sql, tenant, end);

const idsOf = async (filter: JobFilter): Promise<string[]> =>
  (await listDeadLetters(sql, { ...filter, limit: 100 })).map(({ jobId }) => jobId);

describe('a filter of dead letters', () => {
  it('takes those that all of its fields take, and counts as many', async () => {
    const pro = await addTenant(sql);
    await sql`update tenants set plan = 'pro' where id = ${pro}`;
    const forbidden = await ended(
      fatal('http_403', 'GET https://api.example.com/v1/rates was refused'),
    );
    const refused = await ended(
      exhausted('connection_refused', 'connect to rates.example.com'),
      pro,
    );
    const grouped = await runningJob(sql, pro, { group: 'user:42', dedupKey: 'k-1' });
    await finish(sql, grouped, fatal('type_error', "cannot read 'rates'"));
    const [{ fingerprint } = { fingerprint: '' }] = await sql<{ fingerprint: string }[]>`
      select fingerprint from purser.dead_letters where job_id = ${refused}`;
    const cases: [JobFilter, string[]][] = [
      [{}, [grouped.jobId, refused, forbidden]],
      [{ tenantId }, [forbidden]],
      [{ tenantId: 'nobody' }, []],
      [{ jobType: step }, [grouped.jobId, refused, forbidden]],
      [{ jobType: 'other_step' }, []],
      [{ code: 'http_403' }, [forbidden]],
      [{ fingerprint }, [refused]],
      [{ plan: 'pro' }, [grouped.jobId, refused]],
      [{ plan: 'pro', code: 'connection_refused' }, [refused]],
      [{ group: 'user:42' }, [grouped.jobId]],
      [{ dedupKey: 'k-1' }, [grouped.jobId]],
      [{ jobId: forbidden }, [forbidden]],
      [{ replaysOf: refused }, [refused]],
      [{ attempt: 1 }, [grouped.jobId, refused, forbidden]],
      [{ attempt: 2 }, []],
      [{ state: 'dead_letter' }, [grouped.jobId, refused, forbidden]],
      [{ state: 'failed' }, []],
      [{ text: 'RATES' }, [grouped.jobId, refused, forbidden]],
      [{ text: 'example.com' }, [refused, forbidden]],
      [{ text: 'exam rat connect' }, [refused]],
      [{ text: 'http_403' }, [forbidden]],
      [{ text: 'xample' }, []],
      [{ text: "'; drop table x; --" }, []],
      [{ text: '!!' }, []],
      [
        { since: new Date(Date.now() - 3_600_000), until: new Date(Date.now() + 3_600_000) },
        [grouped.jobId, refused, forbidden],
      ],
      [{ since: new Date(Date.now() + 3_600_000) }, []],
      [{ until: new Date(Date.now() - 3_600_000) }, []],
    ];
    for (const [filter, expected] of cases) {
      expect([filter, await idsOf(filter)]).toEqual([filter, expected]);
      expect([filter, await countDeadLetters(sql, filter)]).toEqual([filter, expected.length]);
    }
  });

  it('looks for the words of the end, not of an earlier attempt', async () => {
    const attempt = await runningJob(sql, tenantId);
    await finish(sql, attempt, again('http_503', 'overloaded'));
    await finish(
      sql,
      await begin(sql, await claimJob(sql, attempt.jobId)),
      fatal('http_403', 'forbidden'),
    );
    expect(await idsOf({ text: 'forbidden' })).toEqual([attempt.jobId]);
    expect(await idsOf({ text: 'overloaded' })).toEqual([]);
  });

  it('is a select from which rows can be inserted, each job once', async () => {
    const ids = [await ended(fatal('a', 'x')), await ended(fatal('a', 'y'))];
    await sql.begin(async (tx) => {
      await tx`create temporary table member (job_id bigint primary key) on commit drop`;
      const filter = { code: 'a', text: 'a', plan: undefined };
      await tx`insert into member select m.job_id from (${deadLettersMatching(tx, filter)}) m`;
      expect(await tx`select job_id from member order by 1`).toMatchObject(
        ids.map((job_id) => ({ job_id })),
      );
    });
  });

  it('has pages by a cursor that neither repeats nor leaves out, also of one instant', async () => {
    const ids: string[] = [];
    for (let n = 0; n < 7; n += 1) ids.push(await ended(fatal('a', 'x')));
    await sql`update purser.dead_letters set finished_at = '2026-01-02T03:04:05.678912Z' where job_id <> ${ids[0] ?? ''}`;
    const seen: string[] = [];
    for (let before: string | undefined; seen.length < 20;) {
      const page = await listDeadLetters(sql, { limit: 2, before });
      if (page.length === 0) break;
      seen.push(...page.map(({ jobId }) => jobId));
      before = page.at(-1)?.cursor;
    }
    expect(seen).toEqual([ids[0], ...ids.slice(1).toReversed()]);
    for (const before of ['x', '2026-01-02T03:04:05.678912Z_99999999999999999999', '_1']) {
      await expect(listDeadLetters(sql, { limit: 1, before })).rejects.toMatchObject({
        code: 'invalid_cursor',
      });
    }
  });
});
