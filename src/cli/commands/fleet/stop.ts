/** `purser stop`: pauses a target and hands its running jobs back; with --discard it ends what waits, after a preview. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Sql } from '../../../db/connect.ts';
import { exitCodes, UsageError } from '../../../errors.ts';
import type { Pause, PauseTarget } from '../../../jobs/pauses.ts';
import { assertKnown } from '../../../jobs/pauses.ts';
import { countOpenJobs, listInFlight } from '../../../jobs/stop/stopped.ts';
import type { OpenJobs } from '../../../jobs/stop/stopped.ts';
import { discardWaiting } from '../../../operations/stop/discard.ts';
import { stopWork } from '../../../operations/stop/stop.ts';
import type { StopAnswer } from '../../../operations/stop/stop.ts';
import { pauseTitle, resumeCommand } from '../../reports/pauses.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import { jsonOption } from '../../terminal/command.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { byOption, reasonedActOf, reasonOption } from '../../terminal/operator-options.ts';
import { wholeNumber } from '../../terminal/parse.ts';
import { targetOf, targets } from '../pause.ts';

const pollMs = 200;

async function stop(invocation: Invocation): Promise<number> {
  const target = targetOf(invocation);
  const { reason, operator } = reasonedActOf(invocation);
  const waitSeconds = wholeNumber(invocation, 'wait', 15, { min: 0, max: 86_400 });
  const [discard, yes] = [invocation.flag('discard'), invocation.flag('yes')];
  if (yes && !discard) throw new UsageError('--yes goes with --discard');
  return withDatabase(invocation.config(), async ({ database }) => {
    const sql = database.system;
    if (discard && !yes) return preview(invocation, sql, target);
    const answer = await stopWork(sql, operator, { target, reason });
    if (!invocation.flag('json')) sayStopped(invocation, target, answer);
    const discarded = discard
      ? await discardWaiting(sql, operator, {
          target,
          reason,
          upToId: answer.newestId,
          sparedIds: answer.runningIds,
        })
      : undefined;
    const left = await untilHandedBack(sql, target, answer.runningIds, waitSeconds * 1_000);
    sayEnd(invocation, { target, answer, discarded, left });
    return left.length === 0 || waitSeconds === 0 ? exitCodes.ok : exitCodes.failed;
  });
}

const jobs = (count: number): string => `${count} job${count === 1 ? '' : 's'}`;

async function preview(invocation: Invocation, sql: Sql, target: PauseTarget): Promise<number> {
  await assertKnown(sql, target);
  const counts = await countOpenJobs(sql, target);
  const wouldEnd = endsOf(counts);
  if (invocation.flag('json')) {
    invocation.print(JSON.stringify({ ...target, preview: true, wouldEnd, ...counts }));
    return exitCodes.ok;
  }
  const { waiting, later, parked, queued, running, tenants } = counts;
  invocation.print(
    `${jobs(wouldEnd)} of ${tenants} tenant${tenants === 1 ? '' : 's'} would end as cancelled: ` +
      `${waiting} waiting, ${later} scheduled for later, ${parked} parked, ${queued} queued`,
  );
  invocation.print(`${running} running would go back to waiting and not end`);
  invocation.print('nothing was changed; add --yes to stop and discard');
  return exitCodes.ok;
}

const endsOf = ({
  waiting,
  later,
  parked,
  queued,
}: Pick<OpenJobs, 'waiting' | 'later' | 'parked' | 'queued'>): number =>
  waiting + later + parked + queued;

/** Waits until none of these jobs runs, for at most `waitMs`. Returns those that still run. */
async function untilHandedBack(
  sql: Sql,
  target: PauseTarget,
  jobIds: readonly string[],
  waitMs: number,
): Promise<readonly string[]> {
  const deadline = performance.now() + waitMs;
  for (;;) {
    const inFlight = jobIds.length === 0 ? undefined : await listInFlight(sql, target);
    const running = new Set(inFlight?.running);
    const left = jobIds.filter((jobId) => running.has(jobId));
    if (left.length === 0 || performance.now() >= deadline) return left;
    await sleep(pollMs);
  }
}

function sayStopped(
  invocation: Invocation,
  target: PauseTarget,
  { replaced, returned, runningIds, claimsDrained }: StopAnswer,
): void {
  invocation.print(
    `${pauseTitle(target)} is stopped; queued jobs that went back to waiting: ${returned}, running jobs to be handed ` +
      `back: ${runningIds.length}; to undo: ${resumeCommand(target)}`,
  );
  if (replaced !== undefined) invocation.print(`this replaces the ${describe(replaced)}`);
  if (!claimsDrained) {
    invocation.note(
      'a dispatch that began before the stop is still running; a scheduler returns what it adds to the queues',
    );
  }
}

const describe = ({ stops, by, at, reason }: Pause): string =>
  `${stops ? 'stop' : 'pause'} by ${by} since ${at.toISOString()}: ${reason}`;

const maxNamed = 10;

interface End {
  readonly target: PauseTarget;
  readonly answer: StopAnswer;
  readonly discarded: number | undefined;
  /** Jobs that still run. */
  readonly left: readonly string[];
}

function sayEnd(invocation: Invocation, { target, answer, discarded, left }: End): void {
  if (invocation.flag('json')) {
    const { replaced, returned, runningIds, claimsDrained } = answer;
    const handedBack = runningIds.filter((jobId) => !left.includes(jobId)).length;
    invocation.print(
      JSON.stringify({
        ...target,
        replaced: replaced ?? null,
        returned,
        handedBack,
        stillRunning: left,
        discarded: discarded ?? 0,
        claimsDrained,
      }),
    );
    return;
  }
  if (discarded !== undefined) invocation.print(`${jobs(discarded)} ended as cancelled`);
  if (answer.runningIds.length === 0) return;
  if (left.length === 0) invocation.print('no job of it runs any more');
  else {
    const named = left.slice(0, maxNamed).join(', ');
    const more = left.length > maxNamed ? ` and ${left.length - maxNamed} more` : '';
    invocation.print(
      `${jobs(left.length)} still run${left.length === 1 ? 's' : ''}: ${named}${more}; the stop stays until they end: purser workers`,
    );
  }
}

export const stopCommands: readonly Command[] = [
  {
    path: 'stop',
    summary:
      'stop the jobs of a type, of a tenant, or all jobs at once: a pause under which queued and running jobs go back to waiting, no attempt counted; resume undoes it',
    options: {
      ...targets,
      reason: reasonOption,
      by: byOption,
      wait: {
        value: 'SECONDS',
        help: 'how long to wait for running jobs to be handed back (default 15; 0: do not wait); exit 1 when some still run',
      },
      discard: {
        help: 'also end the jobs that have not begun, as cancelled; without --yes only count them, and stop nothing',
      },
      yes: { help: 'carry out --discard' },
      json: jsonOption,
    },
    run: stop,
  },
];
