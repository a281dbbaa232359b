/** Batches by the command line: a filter is previewed, started with consent, followed, stopped, resumed and undone. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { addJob, addJobType, begin, claim, finish, jobRow } from '../../../jobs/job-steps.ts';
import { fatal } from '../../../jobs/failures/ends.ts';
import { deadLetters, replaysOf, untilOver } from '../../../operations/batches/batch-database.ts';
import { useCliDatabase } from '../../cli-database.ts';

const cli = useCliDatabase();
let folder: string;
beforeAll(async () => {
  await addJobType(cli.sql);
  folder = await mkdtemp(join(tmpdir(), 'purser-batches-'));
});
beforeEach(async () => {
  await cli.sql`delete from jobs`;
  await cli.sql`delete from purser.batches`;
});
afterAll(() => rm(folder, { recursive: true }));

const reason = ['--reason', 'fixed'];
const batchIn = (text: string): string => /batch +(\d+)/.exec(text)?.[1] ?? '';

describe('a filter', () => {
  it('is previewed and not started without consent; --yes starts it at once', async () => {
    const ids = await deadLetters(cli.sql, cli.tenantId, 2);
    const asked = await cli.invoke('dlq', 'replay', '--code', 'boom', ...reason);
    expect(asked.code).toBe(0);
    expect(asked.out).toMatch(/jobs +2\n/);
    expect(asked.out).toContain(`tenants        1: ${cli.tenantId} 2`);
    expect(asked.out).toMatch(
      /nothing was changed; to start it until \S+: purser dlq replay --batch \d+ --reason TEXT, or repeat the command with --yes$/,
    );
    const first = batchIn(asked.out);
    expect((await untilOver(cli.sql, first)).state).toBe('previewed');
    const begun = await cli.invoke('dlq', 'replay', '--code=boom', '--yes', '--pace=7', ...reason);
    const second = begun.out.split('\n').at(-1) ?? '';
    expect(second).toMatch(
      /^batch \d+ has started: 2 jobs are replayed by the schedulers, at most 7/,
    );
    const batch = await untilOver(cli.sql, batchIn(second));
    expect(batch).toMatchObject({ state: 'completed', done: 2, perSecond: 7, reason: 'fixed' });
    expect((await replaysOf(cli.sql, ids)).size).toBe(2);
    // The earlier preview has the same jobs.
    const late = await cli.invoke('dlq', 'replay', '--batch', first, ...reason);
    expect(late.code).toBe(0);
    const ended = await untilOver(cli.sql, first);
    expect(ended).toMatchObject({ done: 0, skipped: 2 });
    const shown = await cli.invoke('dlq', 'batches', first);
    expect(shown.out).toMatch(/skipped: replayed before +2/);
    expect(shown.out).toContain('replay of code=boom');
    expect(shown.out).toContain('completed, at most 50 per second');
  });

  it('with --limit is tried on a few of its jobs first', async () => {
    const ids = await deadLetters(cli.sql, cli.tenantId, 3);
    const begun = await cli.invoke('dlq', 'replay', '--all', '--limit=1', '--yes', ...reason);
    expect(begun.out).toMatch(/jobs +1 \(the oldest; the filter takes more\)\n/);
    const last = begun.out.split('\n').at(-1) ?? '';
    expect(last).toMatch(/^batch \d+ has started: 1 job is replayed/);
    expect(await untilOver(cli.sql, batchIn(last))).toMatchObject({ members: 1, done: 1 });
    expect((await replaysOf(cli.sql, ids)).size).toBe(1);
  });

  it('says so where it takes nothing', async () => {
    const none = await cli.invoke('dlq', 'discard', '--code', 'nothing', '--yes', ...reason);
    expect(none.code).toBe(0);
    expect(none.out).toContain('nothing was changed; no job is taken by this filter');
  });

  it('cancels jobs that have not ended', async () => {
    const jobs = [await addJob(cli.sql, cli.tenantId), await addJob(cli.sql, cli.tenantId)];
    const begun = await cli.invoke('jobs', 'cancel', '--tenant', cli.tenantId, '--yes', ...reason);
    const { done } = await untilOver(cli.sql, batchIn(begun.out));
    expect(done).toBe(2);
    for (const id of jobs) expect((await jobRow(cli.sql, id)).state).toBe('cancelled');
  });

  it('with --json prints preview and batch, amounts as decimals', async () => {
    await deadLetters(cli.sql, cli.tenantId, 1);
    const preview = await cli.json('dlq', 'preview', '--act', 'replay', '--all');
    expect(preview).toMatchObject({ act: 'replay', jobs: 1, worstCaseUsd: '0', withoutHold: 1 });
    const notStarted = await cli.json('dlq', 'discard', '--all', ...reason);
    expect(notStarted).toMatchObject({ preview: { jobs: 1 }, batch: null });
    const begun = await cli.json('dlq', 'discard', '--all', '--yes', ...reason);
    expect(begun).toMatchObject({
      preview: { jobs: 1 },
      batch: { state: 'running', act: 'discard' },
    });
  });

  it('is refused with what is wrong and what to do', async () => {
    await deadLetters(cli.sql, cli.tenantId, 1);
    const { out } = await cli.invoke('dlq', 'preview', '--act', 'discard', '--all');
    const discard = batchIn(out);
    for (const [args, code, text] of [
      [['dlq', 'replay'], 64, "give a job's id, or say which jobs: --code"],
      [['dlq', 'preview', '--act', 'replay'], 64, 'say which jobs'],
      [['dlq', 'preview', '--act', 'drop', '--all'], 64, '--act drop: use replay, discard, cancel'],
      [['dlq', 'replay', '5', '--code', 'x'], 64, 'give the id of one job or --code, not both'],
      [['dlq', 'replay', '--all', '--code', 'x', ...reason], 64, 'leave out it or --code'],
      [['dlq', 'replay', '--limit', '5', ...reason], 64, 'say which jobs'],
      [
        ['dlq', 'replay', '5', '--limit', '5', ...reason],
        64,
        'the id of one job or --limit, not both',
      ],
      [['dlq', 'replay', '--batch', '1', '--limit', '5', ...reason], 64, 'leave out --limit'],
      [['dlq', 'replay', '--all', '--limit', '0', ...reason], 64, '--limit must be a whole number'],
      [['dlq', 'replay', '--batch', '1', '--code', 'x', ...reason], 64, 'leave out --code'],
      [['dlq', 'replay', '--batch', 'x', ...reason], 64, '--batch x: use an id'],
      [['dlq', 'replay', '--batch', '99999', ...reason], 1, 'there is no batch 99999'],
      [
        ['dlq', 'replay', '--batch', discard, ...reason],
        1,
        `batch ${discard} was previewed for discard; start it with: purser dlq discard --batch ${discard}`,
      ],
      [['dlq', 'replay', '--all', '--yes'], 64, '--reason TEXT is missing'],
      [['dlq', 'replay', '--all', '--pace', '0', ...reason], 64, '--pace must be a whole number'],
      [['dlq', 'replay', '--state', 'running', ...reason], 64, '--state running: replay takes'],
      [['dlq', 'replay', '--tenant', 'nobody', ...reason], 1, 'there is no tenant "nobody"'],
      [
        ['jobs', 'cancel', '--state', 'completed', ...reason],
        64,
        '--state completed: cancel takes',
      ],
      [['dlq', 'batches', 'x'], 1, 'a batch id is a whole number'],
      [['dlq', 'batches', 'stop', discard, ...reason], 1, `batch ${discard} is previewed`],
    ] as const) {
      const outcome = await cli.invoke(...args);
      expect([args.join(' '), outcome.code]).toEqual([args.join(' '), code]);
      expect(outcome.err).toContain(text);
    }
  });
});

it('a batch is stopped, resumed at another pace, and undone', async () => {
  await deadLetters(cli.sql, cli.tenantId, 3);
  const begun = await cli.invoke('dlq', 'replay', '--all', '--yes', '--pace', '1', ...reason);
  const id = batchIn(begun.out);
  expect((await cli.invoke('dlq', 'batches', 'stop', id, ...reason)).out).toBe(
    `batch ${id} is stopped with 3 jobs left; to go on: purser dlq batches resume ${id} --reason TEXT`,
  );
  expect((await cli.invoke('dlq', 'batches', 'resume', id, '--pace', '9', ...reason)).out).toBe(
    `batch ${id} goes on with 3 jobs, at most 9 per second`,
  );
  const undone = await cli.invoke('dlq', 'batches', 'undo', id, ...reason);
  expect(undone.out).toContain(`what has not begun of batch ${id}`);
  await untilOver(cli.sql, id);
  const list = await cli.invoke('dlq', 'batches');
  expect(list.out).toMatch(new RegExp(`${id} +replay +undone +3 +0 +0 +3 +0 +100 % `));
  expect(await cli.json('dlq', 'batches', '--limit', '1')).toMatchObject([
    { batchId: id, undone: 3 },
  ]);
});

describe('dlq edit', () => {
  const type = 'finops_analysis';
  async function letter(): Promise<string> {
    const jobId = await addJob(cli.sql, cli.tenantId, { jobType: type });
    const job = (await claim(cli.sql, 1_000, type)).find((one) => one.jobId === jobId);
    if (job === undefined) throw new Error('the job was not claimed');
    await finish(cli.sql, await begin(cli.sql, job), fatal('boom', 'it broke'));
    return jobId;
  }
  const file = async (text: string | Buffer): Promise<string> => {
    const path = join(folder, 'payload.json');
    await writeFile(path, text);
    return path;
  };
  const edit = (jobId: string, path: string) =>
    cli.invoke('dlq', 'edit', jobId, '--payload', path, ...reason);

  it('replays with the payload of a file', async () => {
    const jobId = await letter();
    const { code, out } = await edit(jobId, await file('{"periodDays": 7}'));
    expect([code, out]).toEqual([
      0,
      expect.stringMatching(
        new RegExp(`^job \\d+ replays dead letter ${jobId} with changed periodDays$`),
      ),
    ]);
    const [replay = ''] = (await replaysOf(cli.sql, [jobId])).values();
    expect((await jobRow(cli.sql, replay)).payload).toEqual({ periodDays: 7 });
  });

  it('says what is wrong with a payload or a job', async () => {
    const jobId = await letter();
    for (const [text, says] of [
      ['', '--payload is not JSON'],
      ['[1]', '--payload must be a JSON object'],
      ['{"periodDays": "x"}', 'periodDays'],
      ['{"periodDays": -1}', 'periodDays'],
      [`{"a": "${'x'.repeat(1_100_000)}"}`, 'is larger than 1048576 bytes'],
      [Buffer.from([0x7b, 0xff, 0x7d]), 'is not UTF-8 text'],
      ['{"note": "\\u0000"}', 'NUL'],
      ['{}', `to run it again as it is: purser dlq replay ${jobId}`],
    ] as const) {
      const outcome = await edit(jobId, await file(text));
      expect(outcome.code).not.toBe(0);
      expect(outcome.err).toContain(says);
    }
    expect((await edit(jobId, join(folder, 'none'))).err).toContain('cannot be opened');
    const [own = ''] = await deadLetters(cli.sql, cli.tenantId, 1);
    expect((await edit(own, await file('{"a": 1}'))).err).toContain('set PURSER_HANDLERS');
    expect((await edit('x', await file('{}'))).err).toContain('a job id is a whole number');
    expect((await replaysOf(cli.sql, [jobId, own])).size).toBe(0);
  });
});
