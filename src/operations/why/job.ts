/** Why one job does not run, or how it ended. */
import type { Queryable } from '../../db/connect.ts';
import { pausesOver } from '../../jobs/pauses.ts';
import { purserCommand } from '../shell-text.ts';
import { lengthText } from './cause.ts';
import type { Cause } from './cause.ts';
import { delayCauses, isDue } from './delays.ts';
import { limitCauses } from './limits.ts';
import { moneyCauses } from './money.ts';
import { pauseCause } from './pauses.ts';
import { textOf } from './place.ts';
import type { JobPlace } from './place.ts';
import {
  readProcesses,
  runs,
  schedulerCauses,
  silentCauses,
  slotsOf,
  storeCauses,
  workerCauses,
} from './processes.ts';
import type { Processes } from './processes.ts';
import { turnCause } from './turn.ts';

export async function causesOfJob(sql: Queryable, job: JobPlace): Promise<Cause[]> {
  if (job.stands === 'ended') return [endOf(job)];
  const processes = await readProcesses(sql);
  if (job.stands === 'running') return causesOfRunning(job, processes);
  const pauses = await pausesOver(sql, job);
  if (job.stands === 'queued') {
    // A pause lets what is queued run; a stop returns it.
    const stops = pauses.filter((pause) => pause.stops).map(pauseCause);
    return [...stops, ...causesOfQueued(job, processes)];
  }
  const found = [
    ...pauses.map(pauseCause),
    ...schedulerCauses(processes),
    ...storeCauses(processes.schedulers),
    ...(job.stands === 'parked' ? await moneyCauses(sql, job) : []),
    ...delayCauses(job),
    ...workerCauses(processes, job.jobType),
    ...(await limitCauses(sql, job)),
    ...suspicion(job),
  ];
  if (job.stands === 'parked' || !isDue(job)) return found;
  const mayStart = found.length === 0 && slotsOf(processes, job.jobType).freeSlots > 0;
  return [...found, await turnCause(sql, job, mayStart)];
}

function endOf({ outcome, finishedAt, endDetail, errorCode, replayedBy, jobId }: JobPlace): Cause {
  const at = finishedAt?.toISOString() ?? '';
  const facts = { endedAt: at, errorCode, replayedBy, detail: endDetail };
  if (outcome === 'completed') {
    return { code: 'completed', says: `it completed at ${at}`, lift: null, facts };
  }
  const reason = textOf(endDetail, 'reason');
  if (outcome === 'cancelled') {
    const by = textOf(endDetail, 'by', 'an operator');
    const says = `it was cancelled at ${at} by ${by}: ${reason}`;
    return { code: 'cancelled', says, lift: null, facts };
  }
  const replayed = replayedBy === null ? '' : `; job ${replayedBy} runs it again`;
  return {
    code: 'dead_letter',
    says: `it is a dead letter since ${at} (${reason}, ${errorCode ?? 'error'})${replayed}`,
    lift: replayedBy === null ? purserCommand('dlq', 'replay', jobId) : null,
    facts,
  };
}

function causesOfRunning(job: JobPlace, processes: Processes): Cause[] {
  const { workerId, startedAt, attempt, maxAttempts, leaseEndsAt, leaseLeftMs, cancelBy } = job;
  const started = startedAt?.toISOString() ?? '';
  const silent = processes.silent.filter(({ processId }) => processId === workerId);
  const isLost = leaseLeftMs !== null && leaseLeftMs < 0;
  const cancelling = cancelBy === null ? '' : `; ${cancelBy} asked to cancel it`;
  const lease = isLost
    ? `; its lease ended at ${leaseEndsAt?.toISOString() ?? ''} and was not renewed, so the sweep takes it over`
    : '';
  const running: Cause = {
    code: 'running',
    says: `it runs since ${started} on worker ${workerId ?? ''}, attempt ${attempt} of ${maxAttempts}${cancelling}${lease}`,
    lift: null,
    facts: { worker: workerId, since: started, attempt, leaseEndsAt: leaseEndsAt?.toISOString() },
  };
  const isStuck = isLost || silent.length > 0;
  return [...(isStuck ? schedulerCauses(processes) : []), ...silentCauses(silent), running];
}

/** A pause does not hold it any more. */
function causesOfQueued(job: JobPlace, processes: Processes): Cause[] {
  const { jobType, queuedAt, queuedForMs } = job;
  const waitedMs = queuedForMs ?? 0;
  const serving = processes.workers.filter(runs(jobType));
  // One that lived when the job was queued may hold its entry.
  const silent = processes.silent.filter(
    (worker) => runs(jobType)(worker) && worker.beatAgoMs < waitedMs,
  );
  const { workers, slots, freeSlots } = slotsOf(processes, jobType);
  const isStuck = freeSlots > 0 && waitedMs > 60_000;
  const queued: Cause = {
    code: 'queued',
    says:
      `it is in the queue of ${jobType} since ${queuedAt?.toISOString() ?? ''} (${lengthText(waitedMs)}); ` +
      `${workers} workers run the type in ${slots} slots, ${freeSlots} slots are free` +
      (isStuck ? ': see the logs of the workers, and restart them' : ''),
    lift: null,
    facts: { since: queuedAt?.toISOString(), workers, slots, freeSlots, isStuck },
  };
  return [
    ...(silent.length > 0 || serving.length === 0 ? schedulerCauses(processes) : []),
    ...storeCauses(serving),
    ...delayCauses(job),
    ...workerCauses(processes, jobType),
    ...silentCauses(silent),
    ...suspicion(job),
    queued,
  ];
}

function suspicion({ suspect, losses }: JobPlace): Cause[] {
  if (!suspect) return [];
  return [
    {
      code: 'suspect',
      says: `it is in quarantine: its worker or thread died while it ran (${losses} losses); its next attempt runs alone in a process of its own, one such job at a time in each worker`,
      lift: null,
      facts: { losses },
    },
  ];
}
