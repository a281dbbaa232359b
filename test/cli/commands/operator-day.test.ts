/** What an operator types on a day with a database: tenants, jobs, dead letters, budgets. */
import { describe, expect, it } from 'vitest';
import { runCli } from '../../support/process.ts';
import { invokeWith } from '../in-process.ts';
import { useCliDatabase } from '../cli-database.ts';

const cli = useCliDatabase();
const { invoke, json } = cli;

describe('tenants', () => {
  it.each([
    `O'Neil "quoted" & co`,
    '\u{1f389} M\u00fcller',
    '-dash',
    'x'.repeat(200),
    'a; drop table tenants',
  ])('takes the id %s as it is', async (id) => {
    expect(await invoke('tenants', 'add', '--plan', 'pro', '--', id)).toMatchObject({ code: 0 });
    const listed = await json('tenants', 'list');
    expect(listed).toContainEqual(
      expect.objectContaining({ id, plan: 'pro', cohort: 'high_value' }),
    );
    const again = await invoke('tenants', 'add', '--', id);
    expect(again).toMatchObject({ code: 1, err: expect.stringContaining('already') });
  });

  it('names the plans there are when a plan is not one of them', async () => {
    for (const args of [
      ['tenants', 'add', 'new', '--plan', 'platinum'],
      ['tenants', 'set-plan', cli.tenantId, 'platinum'],
    ]) {
      expect(await invoke(...args)).toEqual({
        code: 64,
        out: '',
        err: 'there is no plan "platinum"; use free, starter, growth, pro, enterprise',
      });
    }
  });

  it('says of an unknown tenant that it is unknown, whatever the command', async () => {
    for (const args of [
      ['tenants', 'set-plan', 'nobody', 'pro'],
      ['enqueue', 'finops_analysis', '--tenant', 'nobody'],
      ['budget', 'set', '--tenant', 'nobody', '--monthly-limit', '5'],
      ['budget', 'show', '--tenant', 'nobody'],
      ['jobs', 'list', '--tenant', 'nobody'],
      ['dlq', 'list', '--tenant', 'nobody'],
    ]) {
      const { code, err } = await invoke(...args);
      expect([args, code, err]).toEqual([args, 1, expect.stringMatching(/no tenant "nobody"/)]);
    }
  });
});

describe('jobs', () => {
  it('accepts a job once per dedup key and shows it with its history', async () => {
    const args = ['enqueue', 'finops_analysis', '--tenant', cli.tenantId, '--dedup-key', 'once'];
    const first = await json(...args);
    const second = await json(...args);
    expect(first).toMatchObject({ created: true });
    expect(second).toMatchObject({ created: false });
    const { jobId } = first as { jobId: string };
    expect(second).toMatchObject({ jobId });
    expect(await json('jobs', 'list', '--tenant', cli.tenantId)).toHaveLength(1);
    expect(await json('jobs', 'show', jobId)).toMatchObject({
      tenantId: cli.tenantId,
      state: 'pending',
    });
    const shown = await invoke('jobs', 'show', jobId);
    expect(shown.out).toMatch(/state +pending/);
    expect(shown.out).toMatch(/dedup key +once/);
  });

  it.each([
    { payload: '{"periodDays":-1}', says: 'payload of finops_analysis: periodDays' },
    { payload: '{"note":"\\ud800"}', says: 'half of a surrogate pair' },
    { payload: '{"id":12345678901234567890}', says: 'field "id" is a number beyond' },
  ])('refuses the payload $payload and names the field', async ({ payload, says }) => {
    const args = ['enqueue', 'finops_analysis', '--tenant', cli.tenantId, '--payload', payload];
    const { code, err } = await invoke(...args);
    expect(code).toBe(1);
    expect(err).toContain(says);
    expect(await json('jobs', 'list', '--tenant', cli.tenantId)).toEqual([]);
  });

  it('refuses an unusable dedup key without a word of SQL', async () => {
    for (const key of ['', 'k'.repeat(3_000), 'nul\u0000']) {
      const args = ['enqueue', 'finops_analysis', '--tenant', cli.tenantId, '--dedup-key', key];
      const { code, err } = await invoke(...args);
      expect(code).not.toBe(0);
      expect(err).toMatch(/dedup key/i);
      expect(err).not.toMatch(/relation|constraint/);
    }
  });

  it('says how a job type becomes known', async () => {
    const { code, err } = await invoke('enqueue', 'no_such_type', '--tenant', cli.tenantId);
    expect(code).toBe(1);
    expect(err).toMatch(/no job type "no_such_type".*PURSER_HANDLERS/);
  });
});

describe('a payload on stdin', () => {
  const pipe = (bytes: Buffer) =>
    invokeWith({ DATABASE_URL: cli.url }, [bytes])(
      'enqueue',
      'finops_analysis',
      '--tenant',
      cli.tenantId,
      '--payload',
      '-',
    );
  const stored = () => cli.sql`
    select payload from background_jobs where tenant_id = ${cli.tenantId}`;

  it('is taken with the mark that some editors put before it', async () => {
    const { code } = await pipe(Buffer.from('\uFEFF{"note": "caf\u00e9"}'));
    expect(code).toBe(0);
    expect([...(await stored())]).toEqual([{ payload: { note: 'caf\u00e9' } }]);
  });

  it('is refused where it is not UTF-8', async () => {
    const { code, err } = await pipe(Buffer.from('{"note": "caf\u00e9"}', 'latin1'));
    expect([code, err]).toEqual([64, expect.stringContaining('not UTF-8')]);
    expect(await stored()).toEqual([]);
  });
});

describe('dead letters', () => {
  /** A dead letter whose error tries to move the cursor. */
  async function deadLetter(message = 'bad \u001b[2J\u009b2J news'): Promise<string> {
    const { jobId } = (await json('enqueue', 'finops_analysis', '--tenant', cli.tenantId)) as {
      jobId: string;
    };
    await cli.sql`
      update background_jobs set state = 'dead_letter', finished_at = now(),
        error = ${cli.sql.json({ code: 'boom', message })}
      where id = ${jobId}::bigint`;
    return jobId;
  }

  it('is shown with its message in one column, where it looks like nothing else', async () => {
    const jobId = await deadLetter('two lines\nstate          completed {}');
    const { out } = await invoke('jobs', 'show', jobId);
    expect(out).toContain(`error          boom: two lines\n${' '.repeat(15)}state`);
    expect(out.match(/^state .*$/gm)).toEqual([expect.stringContaining('dead_letter')]);
  });

  it('replays once, however often it is asked', async () => {
    const jobId = await deadLetter();
    expect(await json('dlq', 'list', '--tenant', cli.tenantId)).toHaveLength(1);
    const first = await json('dlq', 'replay', jobId);
    const second = await json('dlq', 'replay', jobId);
    expect(first).toMatchObject({ created: true });
    expect(second).toMatchObject({ created: false, jobId: (first as { jobId: string }).jobId });
    expect(await json('dlq', 'list', '--tenant', cli.tenantId)).toEqual([]);
    expect((await invoke('dlq', 'replay', jobId)).out).toContain('was already replayed, by job');
  });

  it('discards with a reason, and refuses what is no dead letter', async () => {
    const jobId = await deadLetter();
    const discarded = await invoke('dlq', 'discard', jobId, '--reason', 'tenant left');
    expect(discarded.code).toBe(0);
    expect(await json('dlq', 'list', '--tenant', cli.tenantId)).toEqual([]);
    expect(await json('jobs', 'list', '--tenant', cli.tenantId)).toHaveLength(1);
    const { jobId: alive } = (await json(
      'enqueue',
      'finops_analysis',
      '--tenant',
      cli.tenantId,
    )) as {
      jobId: string;
    };
    const forged = await invoke('dlq', 'discard', jobId, '--reason', 'gone\nby root');
    expect([forged.code, forged.err]).toEqual([64, expect.stringContaining('must be one line')]);
    for (const args of [
      ['dlq', 'replay', alive],
      ['dlq', 'discard', alive, '--reason', 'x'],
    ]) {
      const { code, err } = await invoke(...args);
      expect([code, err]).toEqual([
        1,
        expect.stringContaining('is not a dead letter: it is pending'),
      ]);
    }
  });

  it('keeps control characters of an error away from the terminal', async () => {
    const jobId = await deadLetter();
    const env = { DATABASE_URL: cli.url };
    const [text, asJson, list] = await Promise.all([
      runCli(['jobs', 'show', jobId], { env }),
      runCli(['jobs', 'show', jobId, '--json'], { env }),
      runCli(['dlq', 'list', '--tenant', cli.tenantId], { env }),
    ]);
    for (const { code, stdout } of [text, asJson, list]) {
      expect(code).toBe(0);
      // oxlint-disable-next-line no-control-regex
      expect(stdout).not.toMatch(/[\u001b\u0080-\u009f]/);
    }
    expect(JSON.parse(asJson.stdout)).toMatchObject({
      error: { message: 'bad \u001b[2J\u009b2J news' },
    });
  });
});

describe('budgets', () => {
  it('sets a limit exactly and shows it', async () => {
    for (const limit of ['25.00', '0', '0.000000001', '999999999']) {
      const set = ['budget', 'set', '--tenant', cli.tenantId, '--monthly-limit', limit];
      expect(await invoke(...set)).toMatchObject({ code: 0 });
      expect(await json('budget', 'show', '--tenant', cli.tenantId)).toMatchObject([
        { tenantId: cli.tenantId, monthlyLimitUsd: limit.replace(/\.00$/, ''), hardLimit: true },
      ]);
    }
  });

  it('verifies the books, and names a planted difference with exit 1', async () => {
    await json('budget', 'set', '--tenant', cli.tenantId, '--monthly-limit', '5');
    expect(await invoke('budget', 'verify')).toMatchObject({
      code: 0,
      out: expect.stringMatching(
        /^overspend 0, leaked holds 0, lost usage 0, ledger = counters: yes\n\d+ admissions judged/,
      ),
    });
    await cli.sql`
      update llm_budget_periods set spent_usd = 0.5
      where tenant_id = ${cli.tenantId} and period_start = date_trunc('month', now())::date`;
    const text = await invoke('budget', 'verify');
    expect(text.code).toBe(1);
    expect(text.out).toContain(cli.tenantId);
    expect(text.out).toMatch(/spent/);
    expect(await json('budget', 'verify')).toMatchObject({
      differences: expect.arrayContaining([
        expect.objectContaining({ tenantId: cli.tenantId, stored: '0.500000000' }),
      ]),
    });
    await cli.sql`delete from llm_budget_periods where tenant_id = ${cli.tenantId}`;
  });
});
