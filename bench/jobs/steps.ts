/**
 * The cost of each step of a job: the steps of scheduler and worker run in this process one after the other, each over
 * all jobs with as many in flight as in a worker, and then job by job.
 */
import { cpuMs, cpuPerJob, readCpu, treeCpuMs } from './cpu.ts';
import { openFleetDatabase } from './fleet.ts';
import type { Setting } from './fleet.ts';
import { openParts } from './parts.ts';
import type { Job, Parts } from './parts.ts';
import { median, quantile, rounded } from './report.ts';
import type { Row, Section } from './report.ts';

const jobs = 1_500;
const warmUpJobs = 300;
const singleJobs = 60;

const steps = [
  'enqueue',
  'claim',
  'queue add',
  'queue fetch',
  'begin',
  'executor',
  'finish',
] as const;
type Step = (typeof steps)[number];

export async function measureSteps(setting: Setting): Promise<Section> {
  const database = await openFleetDatabase(setting, 'steps');
  const parts = await openParts(setting, database);
  const { postgresPid, redisPid } = setting.servers;
  const readers = {
    node: () => process.cpuUsage().user / 1000 + process.cpuUsage().system / 1000,
    postgres: () => treeCpuMs(postgresPid),
    redis: () => cpuMs(redisPid),
  };
  const rows = new Map<Step, Row>();
  /** Times a step over `count` jobs; its result is the next step's input. */
  const timed =
    (count: number) =>
    async <T>(step: Step, work: () => Promise<T>): Promise<T> => {
      const before = readCpu(readers);
      const startedMs = performance.now();
      const result = await work();
      const us = ((performance.now() - startedMs) * 1000) / count;
      const cpu = cpuPerJob(readers, before, count);
      rows.set(step, {
        step,
        'us/job': Math.round(us),
        'cpu node': cpu['node'] ?? 0,
        'cpu postgres': cpu['postgres'] ?? 0,
        'cpu redis': cpu['redis'] ?? 0,
      });
      return result;
    };
  try {
    await allAtOnce(parts, setting.concurrency, warmUpJobs, timed(warmUpJobs));
    await allAtOnce(parts, setting.concurrency, jobs, timed(jobs));
    const single = await oneByOne(parts);
    const sum = (name: string): number =>
      [...rows.values()].reduce((total, row) => total + Number(row[name]), 0);
    return {
      name: 'steps',
      title: `cost of each step, ${setting.concurrency} in flight (microseconds per job) and one job at a time (ms)`,
      rows: [
        ...steps.map((step) => ({
          ...rows.get(step),
          'p50 ms': rounded(median(single[step]), 2),
          'p95 ms': rounded(quantile(single[step], 0.95), 2),
        })),
        {
          step: 'sum',
          'us/job': sum('us/job'),
          'cpu node': sum('cpu node'),
          'cpu postgres': sum('cpu postgres'),
          'cpu redis': sum('cpu redis'),
        },
      ],
      notes: [
        `${jobs} jobs step by step, then ${singleJobs} one at a time; timed in this process around the calls of the build.`,
        `claim: ${parts.room} jobs a round. queue fetch: BullMQ's worker takes the entry and marks it done. executor: to the`,
        "handler's thread, the run of a handler that does nothing, and back. cpu: microseconds of processor per job,",
        'node with all threads. enqueue is in bulk of 500. Steps overlap in a fleet: what counts there is the sum of cpu.',
      ],
    };
  } finally {
    await parts.close();
    await database.close();
  }
}

type Timed = <T>(step: Step, work: () => Promise<T>) => Promise<T>;

async function allAtOnce(
  parts: Parts,
  concurrency: number,
  count: number,
  timed: Timed,
): Promise<void> {
  await timed('enqueue', () => parts.enqueue(count));
  const claimed = await timed('claim', () => parts.claim(count));
  await timed('queue add', () => parts.add(claimed));
  const taken = await timed('queue fetch', () => parts.fetch(claimed.length));
  const begun = await timed('begin', () => inFlight(taken, concurrency, (job) => parts.begin(job)));
  const ended = await timed('executor', () =>
    inFlight(begun, concurrency, (job) => parts.run(job)),
  );
  await timed('finish', () => inFlight(ended, concurrency, (job) => parts.finish(job)));
}

async function oneByOne(parts: Parts): Promise<Record<Step, number[]>> {
  const took: Record<Step, number[]> = {
    enqueue: [],
    claim: [],
    'queue add': [],
    'queue fetch': [],
    begin: [],
    executor: [],
    finish: [],
  };
  const timed: Timed = async (step, work) => {
    const startedMs = performance.now();
    const result = await work();
    took[step].push(performance.now() - startedMs);
    return result;
  };
  const fetching = parts.fetchOneByOne();
  for (let index = 0; index < singleJobs; index += 1) {
    await timed('enqueue', () => parts.enqueue(1));
    const claimed = await timed('claim', () => parts.claim(1));
    const taken = fetching.next();
    await timed('queue add', () => parts.add(claimed));
    const entry = await timed('queue fetch', () => taken);
    const begun = await timed('begin', () => parts.begin(entry));
    const ended = await timed('executor', () => parts.run(begun));
    await timed('finish', () => parts.finish(ended));
  }
  await fetching.stop();
  return took;
}

async function inFlight<T extends Job, R>(
  items: readonly T[],
  count: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let item = items[next++]; item !== undefined; item = items[next++]) {
      results.push(await work(item));
    }
  };
  await Promise.all(Array.from({ length: count }, lane));
  return results;
}
