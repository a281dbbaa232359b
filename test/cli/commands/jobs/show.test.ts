/** `purser jobs show` with what each attempt cost, and `purser enqueue --run-at`. */
import { beforeAll, describe, expect, it } from 'vitest';
import { releaseReservation, markUnknown, recordUsage } from '../../../../src/budget/settle.ts';
import { addJobType, finish, runningJob, step } from '../../../jobs/job-steps.ts';
import { reserve, settlementOf } from '../../../support/holds.ts';
import { addTenant } from '../../../support/tenants.ts';
import { useCliDatabase } from '../../cli-database.ts';

const cli = useCliDatabase();
beforeAll(() => addJobType(cli.sql, step));

describe('jobs show', () => {
  it('lists what the calls of each attempt spent, hold and do not know, to the nano-dollar', async () => {
    const { sql } = cli;
    const tenantId = await addTenant(sql, { limitUsd: '100' });
    const attempt = await runningJob(sql, tenantId);
    const hold = async (usd: string) => (await reserve(sql, attempt, usd)).reservationId;
    await recordUsage(sql, settlementOf(await hold('2'), '0.25'));
    await recordUsage(sql, settlementOf(await hold('2'), '0.000000001'));
    await releaseReservation(sql, { reservationId: await hold('3') });
    await markUnknown(sql, { reservationId: await hold('0.5') });
    await hold('0.75');
    const { cost } = (await cli.json('jobs', 'show', attempt.jobId)) as { cost: unknown };
    expect(cost).toEqual([
      {
        attempt: 1,
        calls: 5,
        spentUsd: '0.250000001',
        reservedUsd: '0.75',
        unknownUsd: '0.5',
        unknownCalls: 1,
      },
    ]);
    const { out } = await cli.invoke('jobs', 'show', attempt.jobId);
    expect(out).toMatch(
      /attempt +LLM calls +spent USD +reserved USD +unknown USD\n.*\n1 +5 +0\.250000001 +0\.75 +0\.5\n?/,
    );
    await finish(sql, attempt, { toState: 'completed', result: null });
  });

  it('shows no cost of a job that made no call', async () => {
    const attempt = await runningJob(cli.sql, cli.tenantId);
    expect((await cli.invoke('jobs', 'show', attempt.jobId)).out).not.toContain('LLM calls');
  });
});

describe('enqueue --run-at', () => {
  const enqueue = (runAt: string) =>
    cli.invoke('enqueue', step, '--tenant', cli.tenantId, '--run-at', runAt, '--json');

  it('stores the time, which no dispatch comes before, in any zone', async () => {
    const { jobId } = JSON.parse((await enqueue('2031-05-01T08:00:00+02:00')).out) as {
      jobId: string;
    };
    const [later] = await cli.sql`select scheduled_for from purser.later where job_id = ${jobId}`;
    expect(later?.['scheduled_for']).toEqual(new Date('2031-05-01T06:00:00Z'));
    const { out } = await cli.invoke(
      'enqueue',
      step,
      '--tenant',
      cli.tenantId,
      '--run-at',
      '2031-05-01',
    );
    expect(out).toMatch(/^job \d+ accepted; it runs from 2031-05-01T00:00:00Z on$/);
  });

  it.each(['tomorrow', '2031-05-01T08:00:00', '2031-02-30', '1', ''])(
    'refuses %j',
    async (time) => {
      const { code, err } = await enqueue(time);
      expect(code).toBe(64);
      expect(err).toContain('--run-at must be a date or a time with its zone');
    },
  );
});
