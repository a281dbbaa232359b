/**
 * Completed no-op jobs per second: Purser's worker and scheduler against plain BullMQ's worker, on the same
 * store. Jobs are enqueued while their type is paused; the time from the resume to the last completion is measured.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Sql } from '../../src/db/connect.ts';
import { cpuMs, cpuPerJob, readCpu, treeCpuMs } from './cpu.ts';
import type { CpuReader } from './cpu.ts';
import { openFleetDatabase, startFleet, tenants } from './fleet.ts';
import type { FleetDatabase, Setting, Store } from './fleet.ts';
import { openPlainQueue, plainSettings, startPlainWorker } from './plain.ts';
import type { PlainQueue, PlainWorker } from './plain.ts';
import { median, rounded, spread } from './report.ts';
import type { Row, Section } from './report.ts';

/** Approximate length of one of Purser's samples on any machine; both sides run the same number of jobs. */
const sampleSeconds = 2.5;
const jobsPerSample = { least: 500, most: 40_000 };
export const warmUpJobs = 500;
export const heartbeatMs = 3_000;
const chunk = 500;

/** What each job does, and carries. */
export interface Work {
  readonly type: string;
  readonly payload: object;
  readonly pauseMs?: number;
}

const noWork: Work = { type: 'bench_noop', payload: {} };
const someWork: Work = { type: 'bench_work', payload: { text: 'x'.repeat(1_000) }, pauseMs: 1 };

type Variant = 'noop' | 'alone' | 'work';

export interface Sample {
  readonly perSecond: number;
  /** Microseconds per job, by part. */
  readonly cpu: Readonly<Record<string, number>>;
}

/** Takes one sample of so many jobs. */
export type Measure = (jobs: number) => Promise<Sample>;

/** alone: each of Purser's jobs has a queue entry of its own. work: jobs have 1 KB of payload and pause for 1 ms. */
export async function measureCompletion(
  given: Setting,
  store: Store,
  variant: Variant = 'noop',
): Promise<Section> {
  const setting = variant === 'alone' ? { ...given, jobsPerEntry: 1 } : given;
  const work = variant === 'work' ? someWork : noWork;
  const name = `completion_${store}${variant === 'noop' ? '' : `_${variant}`}`;
  const database = await openFleetDatabase(setting, `${name}_purser`);
  const fleet = await startFleet(setting, database, store);
  const plainQueue = await openPlainQueue(setting, `${name}_plain`, store);
  const plainWorker = await startPlainWorker({
    queue: `${name}_plain`,
    store,
    url: plainQueue.url,
    concurrency: setting.concurrency,
    ...(work.pauseMs === undefined ? {} : { pauseMs: work.pauseMs }),
  });
  const { postgresPid, redisPid } = setting.servers;
  const servers: CpuReader = {
    postgres: () => treeCpuMs(postgresPid),
    ...(store === 'redis' ? { redis: () => cpuMs(redisPid) } : {}),
  };
  try {
    const sides = {
      Purser: purser(
        setting,
        database,
        {
          worker: () => cpuMs(fleet.workerPid),
          scheduler: () => cpuMs(fleet.schedulerPid),
          ...servers,
        },
        { work },
      ),
      BullMQ: plain(
        plainQueue,
        plainWorker,
        {
          worker: () => cpuMs(plainWorker.pid),
          ...servers,
        },
        work,
      ),
    };
    const samples: Record<keyof typeof sides, Sample[]> = { Purser: [], BullMQ: [] };
    await sides.Purser(warmUpJobs);
    // The scheduler learns the run time of the type from the worker's heartbeat.
    await sleep(heartbeatMs);
    await sides.Purser(warmUpJobs * 4);
    const warm = await sides.Purser(warmUpJobs * 20);
    await sides.BullMQ(warmUpJobs);
    const jobs = Math.round(
      Math.min(jobsPerSample.most, Math.max(jobsPerSample.least, warm.perSecond * sampleSeconds)),
    );
    for (let round = 0; round < setting.rounds; round += 1) {
      const order =
        round % 2 === 0 ? (['Purser', 'BullMQ'] as const) : (['BullMQ', 'Purser'] as const);
      for (const side of order) samples[side].push(await sides[side](jobs));
    }
    const purserWindow = `${setting.concurrency} + ${setting.begunAhead} ahead`;
    const of = (side: keyof typeof sides) => samples[side].map(({ perSecond }) => perSecond);
    return {
      name: name.replaceAll('_', '-'),
      title: `${work === noWork ? 'no-op jobs' : 'jobs with 1 KB of payload and a pause of 1 ms,'} completed per second, queues in ${store === 'redis' ? 'Redis' : 'Postgres'}${variant === 'alone' ? ', one job per entry' : ''}`,
      rows: [
        row('Purser', purserWindow, samples.Purser, median(of('Purser')) / median(of('BullMQ'))),
        row('BullMQ', `${setting.concurrency}`, samples.BullMQ, 1),
      ],
      notes: [
        `${jobs} jobs a sample, ${setting.rounds} samples each, alternating order, ${setting.concurrency} at once; medians.`,
        'Purser: 1 worker and 1 scheduler process; a job counts when its row says completed, at its finished_at.',
        `BullMQ: ${plainSettings}; an entry counts at its completed event.`,
        `window: jobs that run at once, and those begun ahead at most; an entry carries at most ${setting.jobsPerEntry} jobs of 50 ms together.`,
        'cpu: microseconds of processor per job, medians; the other side idles meanwhile.',
      ],
    };
  } finally {
    await plainWorker.stop();
    await plainQueue.close();
    await fleet.stop();
    await database.close();
  }
}

export function row(
  who: string,
  window: string,
  samples: readonly Sample[],
  ratio: number,
  ratioName = 'x BullMQ',
): Row {
  const parts = Object.keys(samples[0]?.cpu ?? {});
  return {
    who,
    window,
    ...spread(
      'jobs/s',
      samples.map(({ perSecond }) => perSecond),
    ),
    [ratioName]: rounded(ratio, 3),
    ...Object.fromEntries(
      parts.map((part) => [`cpu ${part}`, median(samples.map(({ cpu }) => cpu[part] ?? 0))]),
    ),
  };
}

/** The pause stops dispatch, so everything that the fleet does for a job follows the resume. */
export function purser(
  { build }: Setting,
  { sql }: FleetDatabase,
  readers: CpuReader,
  {
    owners = tenants,
    groups = 0,
    work = noWork,
  }: {
    readonly owners?: readonly string[];
    /** Groups of each tenant, of the kind `user`. */
    readonly groups?: number;
    readonly work?: Work;
  } = {},
): Measure {
  const { type, payload } = work;
  const pause = { scope: 'job_type', name: type } as const;
  return async (jobs) => {
    await build.pauseWork(sql, { ...pause, reason: 'bench', by: 'bench' });
    const firstId = await lastJobId(sql);
    for (let done = 0; done < jobs; done += chunk) {
      const requests = Array.from({ length: Math.min(chunk, jobs - done) }, (_, index) => ({
        tenantId: owners[(done + index) % owners.length] ?? '',
        jobType: type,
        payload,
        ...(groups === 0
          ? {}
          : { group: `user:${Math.floor((done + index) / owners.length) % groups}` }),
      }));
      await build.enqueueMany(sql, requests);
    }
    const before = readCpu(readers);
    const [start] = await sql<{ at: string }[]>`select clock_timestamp()::text as at`;
    await build.resumeWork(sql, pause);
    while (await anyOpen(sql, type)) await sleep(50);
    const cpu = cpuPerJob(readers, before, jobs);
    const [end] = await sql<{ seconds: number; completed: number; attempts: number }[]>`
      select extract(epoch from max(finished_at) - ${start?.at ?? ''}::text::timestamptz)::float8 as seconds,
             count(*) filter (where state = 'completed')::int as completed, sum(attempt)::int as attempts
      from background_jobs where id > ${firstId} and job_type = ${type}`;
    if (end?.completed !== jobs || end.attempts !== jobs) {
      throw new Error(`${jobs} jobs came to ${JSON.stringify(end)}`);
    }
    return { perSecond: jobs / end.seconds, cpu };
  };
}

async function lastJobId(sql: Sql): Promise<string> {
  const [row] = await sql<{ id: string }[]>`
    select coalesce(max(id), 0)::text as id from background_jobs`;
  return row?.id ?? '0';
}

/** Asks the tables of open jobs, not the view, so that the question takes no time from the other processes. */
async function anyOpen(sql: Sql, type: string): Promise<boolean> {
  const [row] = await sql<{ open: boolean }[]>`
    select exists (select from purser.waiting where job_type = ${type})
      or exists (select from purser.later where job_type = ${type})
      or exists (select from purser.in_flight where job_type = ${type}) as open`;
  return row?.open === true;
}

function plain(
  { queue }: PlainQueue,
  worker: PlainWorker,
  readers: CpuReader,
  { type, payload }: Work,
): Measure {
  return async (jobs) => {
    await queue.pause();
    for (let done = 0; done < jobs; done += chunk) {
      const entries = Array.from({ length: Math.min(chunk, jobs - done) }, () => ({
        name: type,
        data: payload,
      }));
      await queue.addBulk(entries);
    }
    const counted = worker.count(jobs);
    const before = readCpu(readers);
    const startedNs = process.hrtime.bigint();
    await queue.resume();
    const seconds = Number((await counted) - startedNs) / 1e9;
    return { perSecond: jobs / seconds, cpu: cpuPerJob(readers, before, jobs) };
  };
}
