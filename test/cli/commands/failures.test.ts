/** What an operator reads of failures: lists with their number, groups, and one dead letter with all that decides. */
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { listCommand } from '../../../src/cli/commands/dlq/list.ts';
import { searchOf } from '../../../src/cli/reports/search-options.ts';
import { parseInvocation } from '../../../src/cli/terminal/parse.ts';
import type { AttemptEnd } from '../../../src/jobs/attempts.ts';
import { listDeadLetters } from '../../../src/jobs/dead-letters.ts';
import { countJobs } from '../../../src/jobs/search/list.ts';
import {
  addJob,
  addJobType,
  begin,
  claimJob,
  finish,
  runningJob,
  step,
} from '../../jobs/job-steps.ts';
import { useCliDatabase } from '../cli-database.ts';

const cli = useCliDatabase();
beforeAll(() => addJobType(cli.sql));
beforeEach(() => cli.sql`delete from jobs`);

const end = (code: string, message: string, reason: string): Partial<AttemptEnd> => ({
  toState: 'dead_letter',
  error: {
    code,
    message,
    stack: `Error: ${message}\n    at send (/app/mail.mjs:7:1)\n    at run (/app/x.mjs:1:1)`,
  },
  detail: { reason, code },
});

async function deadJob(code: string, message: string, reason = 'fatal'): Promise<string> {
  const attempt = await runningJob(cli.sql, cli.tenantId);
  await finish(cli.sql, attempt, end(code, message, reason));
  return attempt.jobId;
}

describe('lists', () => {
  it('say how many there are where they show a part, and nothing where they show all', async () => {
    for (let n = 0; n < 3; n += 1) await deadJob('http_403', `row ${n} is refused`);
    for (const [list, what] of [
      ['dlq', 'dead letters'],
      ['jobs', 'jobs'],
    ] as const) {
      const part = await cli.invoke(list, 'list', '--limit', '2');
      expect([part.code, part.err]).toEqual([0, `2 of 3 ${what}; more with --limit`]);
      expect((await cli.invoke(list, 'list', '--limit', '3')).err).toBe('');
      const json = await cli.invoke(list, 'list', '--limit', '2', '--json');
      expect(JSON.parse(json.out)).toHaveLength(2);
      expect(json.err).toContain('2 of 3');
    }
  });

  it('count 10,000 and not further', async () => {
    await deadJob('http_403', 'refused');
    await cli.sql`
      insert into jobs (tenant_id, job_type, max_attempts, outcome, finished_at)
      select ${cli.tenantId}, ${step}, 3, 'completed', now() from generate_series(1, 10001)`;
    const { err } = await cli.invoke('jobs', 'list', '--limit', '5');
    expect(err).toBe('5 of 10,000+ jobs; more with --limit');
    await addJob(cli.sql, cli.tenantId);
    expect(await countJobs(cli.sql, {})).toBe(10_001);
  });

  it('take every filter', async () => {
    const wanted = await deadJob('http_403', 'rates are refused');
    await deadJob('type_error', 'x is not a function');
    const [letter] = await listDeadLetters(cli.sql, { limit: 1, code: 'http_403' });
    const fingerprint = letter?.fingerprint ?? '';
    const options = {
      tenant: cli.tenantId,
      type: step,
      code: 'http_403',
      fingerprint,
      text: 'rates refus',
      since: '2020-01-01',
      until: '2999-01-01',
      attempt: '1',
      plan: 'free',
    };
    const args = Object.entries(options).map(([name, value]) => `--${name}=${value}`);
    const invocation = parseInvocation(listCommand, [...args, '--group=user:1']);
    expect(await searchOf(invocation, cli.sql)).toEqual({
      tenantId: cli.tenantId,
      jobType: step,
      code: 'http_403',
      fingerprint,
      text: 'rates refus',
      since: new Date('2020-01-01'),
      until: new Date('2999-01-01'),
      attempt: 1,
      plan: 'free',
      group: 'user:1',
    });
    expect(await cli.json('dlq', 'list', ...args)).toMatchObject([{ jobId: wanted }]);
    expect(await cli.json('jobs', 'list', ...args)).toMatchObject([{ jobId: wanted }]);
    for (const filter of ['--id', '--replays-of']) {
      expect(await cli.json('jobs', 'list', filter, wanted)).toMatchObject([{ jobId: wanted }]);
    }
    expect(await cli.json('jobs', 'list', '--dedup-key', 'none')).toEqual([]);
  });

  it.each([
    ['--fingerprint=x', 'as purser dlq groups shows it'],
    ['--text=!!', 'needs a word'],
    ['--until=soon', '--until must be an age'],
    ['--attempt=-1', '--attempt must be a whole number'],
    ['--plan=gold', 'there is no plan "gold"'],
  ])('refuse %s', async (arg, says) => {
    const invocation = parseInvocation(listCommand, [arg]);
    await expect(searchOf(invocation, cli.sql)).rejects.toThrow(says);
  });
});

describe('groups', () => {
  it('show cause, number, tenants, ends and trend, and count failed attempts on request', async () => {
    for (const n of [1, 20, 300])
      await deadJob('http_403', `row ${n} is refused`, n === 1 ? 'fatal' : 'attempts exhausted');
    const { out } = await cli.invoke('dlq', 'groups');
    expect(out.split('\n')[2]).toMatch(
      /^1-[0-9a-f]{16} +3 +1 +test_step +http_403 +1 fatal, 2 exhausted +up 0 > 3 .* row 300 is refused$/,
    );
    const retried = await runningJob(cli.sql, cli.tenantId);
    await finish(cli.sql, retried, {
      ...end('http_403', 'row 4 is refused', 'x'),
      toState: 'failed',
    });
    const { groups } = (await cli.json('dlq', 'groups', '--attempts')) as { groups: unknown[] };
    expect(groups).toMatchObject([{ count: 4, fatal: 1, exhausted: 2 }]);
    expect(await cli.json('dlq', 'groups')).toMatchObject({ total: 1, groups: [{ count: 3 }] });
  });
});

describe('one dead letter', () => {
  it('is shown with its attempts, their errors, its stack, what it cost, and what to do', async () => {
    const first = await runningJob(cli.sql, cli.tenantId);
    await finish(cli.sql, first, {
      ...end('http_503', 'overloaded', 'x'),
      toState: 'failed',
      afterMs: 0,
    });
    const second = await begin(cli.sql, await claimJob(cli.sql, first.jobId));
    await finish(cli.sql, second, end('http_403', 'row 7\nfingerprint    forged', 'fatal'));
    await deadJob('http_403', 'row 8\nfingerprint    forged');
    const { out } = await cli.invoke('dlq', 'show', first.jobId);
    for (const part of [
      'fatal after 2 of 3 attempts',
      /fingerprint {4}1-[0-9a-f]{16} \(2 listed\)/,
      / http_503 +overloaded/,
      / http_403 +row 7/,
      'stack of 2     Error: row 7\n               fingerprint    forged',
      'at send (/app/mail.mjs:7:1)',
      'refused the credentials',
      `purser dlq replay ${first.jobId}`,
      `purser dlq discard ${first.jobId} --reason TEXT`,
      /purser dlq list --fingerprint 1-[0-9a-f]{16}/,
    ]) {
      expect(out).toMatch(part);
    }
    expect(out.match(/^fingerprint/gm)).toHaveLength(1);
  });

  it('shows the cost by attempt to the nano-dollar', async () => {
    const jobId = await deadJob('http_403', 'refused');
    await cli.sql`insert into llm_budgets (tenant_id, monthly_limit_usd) values (${cli.tenantId}, 5)`;
    await cli.sql`
      insert into llm_budget_periods (budget_id, tenant_id, period_start)
      select id, tenant_id, date_trunc('month', now())::date from llm_budgets where tenant_id = ${cli.tenantId}`;
    await cli.sql`
      insert into llm_reservations (budget_id, period_start, tenant_id, job_id, attempt, estimated_cost_usd, status,
        expires_at, closed_at, idempotency_key, provider, model, price)
      select b.id, date_trunc('month', now())::date, b.tenant_id, ${jobId}, a.attempt, a.usd, a.status, now(),
        case when a.status <> 'RESERVED' then now() end, a.key, 'openai', 'm', '{}'
      from llm_budgets b, (values (1, 0.000000003, 'UNKNOWN', 'a'), (1, 0.25, 'RESERVED', 'b'), (1, 9, 'RELEASED', 'c'))
        a (attempt, usd, status, key)
      where b.tenant_id = ${cli.tenantId}`;
    await cli.sql`
      insert into llm_ledger (tenant_id, budget_id, period_start, reservation_id, event, reserved_delta_usd,
        spent_delta_usd, unknown_delta_usd, available_delta_usd)
      select r.tenant_id, r.budget_id, r.period_start, r.id, m.event, m.reserved * r.estimated_cost_usd, 0,
        m.unknown * r.estimated_cost_usd, -(m.reserved + m.unknown) * r.estimated_cost_usd
      from llm_reservations r
      join (values ('RESERVED', 'reserve', 1, 0), ('UNKNOWN', 'reserve', 1, 0), ('UNKNOWN', 'unknown', -1, 1),
        ('RELEASED', 'reserve', 1, 0), ('RELEASED', 'release', -1, 0)) m (status, event, reserved, unknown)
        on m.status = r.status
      where r.job_id = ${jobId}`;
    expect(await cli.json('dlq', 'show', jobId)).toMatchObject({
      costs: [
        { attempt: 1, calls: 3, spentUsd: '0', reservedUsd: '0.25', unknownUsd: '0.000000003' },
      ],
    });
  });

  it('names its replay and its chain, and says of another job what it is', async () => {
    const jobId = await deadJob('expired', 'waited', 'expired');
    const { jobId: made } = (await cli.json('dlq', 'replay', jobId)) as { jobId: string };
    const { out } = await cli.invoke('dlq', 'show', jobId);
    expect(out).toContain(`It was replayed by job ${made}: purser jobs show ${made}`);
    expect(out).not.toContain('purser dlq replay');
    expect(out.split('\nreplays')[1]).toMatch(
      new RegExp(`\n${jobId} .*dead_letter[^]*\n${made} .*pending`),
    );
    const discarded = await deadJob('error', 'x');
    await cli.invoke('dlq', 'discard', discarded, '--reason', 'x');
    expect((await cli.invoke('dlq', 'show', discarded)).out).toContain('It was discarded');
    expect((await cli.invoke('dlq', 'show', made)).err).toContain(`; see purser jobs show ${made}`);
    expect((await cli.invoke('dlq', 'show', '999999')).err).toContain('there is no job 999999');
  });
});
