/** `purser workers` lists the workers and what they run; `purser drain` lets workers end what they have. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Sql } from '../../../db/connect.ts';
import { exitCodes, UsageError } from '../../../errors.ts';
import { drainWorkers, readDrain } from '../../../operations/workers/drain.ts';
import type { DrainProgress } from '../../../operations/workers/drain.ts';
import { listWorkers } from '../../../operations/workers/list.ts';
import type { RunningJobRow, WorkerList, WorkerRow } from '../../../operations/workers/list.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import { jsonOption } from '../../terminal/command.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { actOf, actOptions } from '../../terminal/operator-options.ts';
import { wholeNumber } from '../../terminal/parse.ts';
import { formatTable } from '../../terminal/table.ts';

async function list(invocation: Invocation): Promise<number> {
  const limit = wholeNumber(invocation, 'limit', 50, { min: 0, max: 10_000 });
  return withDatabase(invocation.config(), async ({ database }) => {
    const listed = await listWorkers(database.system, limit);
    if (invocation.flag('json')) invocation.print(JSON.stringify(listed));
    else printWorkers(invocation, listed);
    return exitCodes.ok;
  });
}

const workerCells = ({ drain, ...row }: WorkerRow) => [
  row.workerId,
  row.host,
  row.version,
  drain === null ? row.state : `${row.state}, drain by ${drain.by}`,
  `${row.running}/${row.slots ?? '?'}`,
  row.beatAt,
  row.jobTypes.join(' '),
];

const jobCells = ({ progress, note, ...row }: RunningJobRow) => [
  row.jobId,
  row.jobType,
  row.tenantId,
  `${Math.floor(row.ageMs / 1_000)} s`,
  progress === null ? null : `${Math.round(progress * 100)} %${note === null ? '' : ` ${note}`}`,
  row.workerId,
];

function printWorkers(invocation: Invocation, { workers, jobs, runningJobs }: WorkerList): void {
  if (workers.length === 0) {
    invocation.print('no worker is running; start one: purser start worker');
    return;
  }
  invocation.print(
    formatTable(
      ['worker', 'host', 'version', 'state', 'running', 'last beat', 'job types'],
      workers.map(workerCells),
      80,
    ),
  );
  if (jobs.length > 0) {
    invocation.print('');
    invocation.print(
      formatTable(['job', 'type', 'tenant', 'age', 'progress', 'worker'], jobs.map(jobCells), 80),
    );
  }
  if (jobs.length < runningJobs) {
    invocation.print(`${jobs.length} of ${runningJobs} running jobs; more with --limit`);
  }
  const silent = workers.filter(({ state }) => state === 'silent');
  if (silent.length > 0) {
    invocation.print(
      `silent for more than 15 s: ${silent.map(({ workerId }) => workerId).join(', ')}; ` +
        'their jobs run elsewhere when their leases expire',
    );
  }
}

async function drain(invocation: Invocation): Promise<number> {
  const [id] = invocation.positionals;
  const [all, undo] = [invocation.flag('all'), invocation.flag('undo')];
  if ((id !== undefined) === all) throw new UsageError('name one worker, or --all');
  const { operator, reason } = actOf(invocation);
  const worker = id ?? { all: true as const };
  return withDatabase(invocation.config(), async ({ database }) => {
    const sql = database.system;
    const answer = await drainWorkers(sql, operator, { worker, reason, undo });
    const waits = !undo && !invocation.flag('no-wait') && answer.workerIds.length > 0;
    if (!invocation.flag('json')) sayDrained(invocation, answer.workerIds, undo, waits);
    const progress = waits
      ? await untilEmpty(invocation, sql, answer.workerIds)
      : await readDrain(sql, answer.workerIds);
    if (invocation.flag('json')) {
      invocation.print(JSON.stringify({ changed: answer.changedIds, workers: progress }));
    } else if (waits) {
      for (const each of progress) invocation.print(describe(each));
    }
    const isDone = progress.every(({ state }) => state === 'empty' || state === 'gone');
    return isDone || !waits ? exitCodes.ok : exitCodes.failed;
  });
}

function sayDrained(
  invocation: Invocation,
  ids: readonly string[],
  undo: boolean,
  waits: boolean,
): void {
  if (ids.length === 0) invocation.print(undo ? 'no worker drains' : 'no worker is running');
  for (const id of ids) {
    invocation.print(
      undo
        ? `worker ${id} takes jobs again`
        : `worker ${id} takes no new jobs${waits ? '' : '; see: purser workers'}; to undo: purser drain ${id} --undo`,
    );
  }
}

const texts: Readonly<Record<DrainProgress['state'], string>> = {
  empty: 'is empty',
  gone: 'has ended',
  silent: 'fell silent; its jobs run elsewhere when their leases expire',
  taking: 'takes jobs again: its drain was undone',
  draining: 'drains',
};

const describe = ({ workerId, state, running }: DrainProgress): string =>
  `worker ${workerId} ${texts[state]}${state === 'draining' ? `; running jobs: ${running}` : ''}`;

const pollMs = 300;

/** Returns when none of them drains any more. */
async function untilEmpty(
  invocation: Invocation,
  sql: Sql,
  ids: readonly string[],
): Promise<readonly DrainProgress[]> {
  let noted = '';
  for (;;) {
    const progress = await readDrain(sql, ids);
    const draining = progress.filter(({ state }) => state === 'draining');
    if (draining.length === 0) return progress;
    const running = draining.reduce((sum, each) => sum + each.running, 0);
    const note = `not empty yet: ${draining.length} of ${ids.length} workers, running jobs: ${running}`;
    if (note !== noted) invocation.note(note);
    noted = note;
    await sleep(pollMs);
  }
}

export const workerCommands: readonly Command[] = [
  {
    path: 'workers',
    summary:
      'list workers with host, version, state, slots, job types and last beat, and the oldest running jobs with age and progress',
    options: {
      limit: { value: 'N', help: 'at most N running jobs (default 50)' },
      json: jsonOption,
    },
    run: list,
  },
  {
    path: 'drain',
    summary:
      'let a worker take no new jobs and end what it has, and wait until it is empty; it stays alive until its process is stopped',
    positionals: [
      { name: 'WORKER', help: "the worker's id or the beginning of it", required: false },
    ],
    options: {
      all: { help: 'every live worker' },
      undo: { help: 'let it take jobs again; with --all every worker that drains' },
      'no-wait': { help: 'do not wait until it is empty' },
      ...actOptions,
      json: jsonOption,
    },
    run: drain,
  },
];
