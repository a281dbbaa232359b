/**
 * Purser against plain BullMQ, graphile-worker and pg-boss: completions and enqueues per second, pickup latency of an idle fleet, and the cost of
 * each step. Same machine and run, alternating order, servers of its own. Linux.
 * Usage: npm run bench:jobs -- [--only NAME] [--json] [--concurrency N] [--window N] [--rounds N] [--minutes N] [--phase NAME] [--dist FOLDER]
 * The section `pressure` runs only by name: phases of --minutes (5). --window: Purser begins none ahead, so that nobody has more than N jobs at once.
 */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { aboutRun } from './jobs/about.ts';
import type { About } from './jobs/about.ts';
import { loadBuild } from './jobs/build.ts';
import { measurePeers } from './jobs/completion-peers.ts';
import { measureCompletion } from './jobs/completion.ts';
import { measureEnqueue } from './jobs/enqueue.ts';
import { defaultBegunAhead, logLevel } from './jobs/fleet.ts';
import type { Setting } from './jobs/fleet.ts';
import { measureGrowth } from './jobs/growth.ts';
import { measurePickup } from './jobs/pickup.ts';
import { measurePressure } from './jobs/pressure.ts';
import { printSection } from './jobs/report.ts';
import type { Section } from './jobs/report.ts';
import { startServers } from './jobs/servers.ts';
import { measureSteps } from './jobs/steps.ts';

const sections: Readonly<Record<string, (setting: Setting) => Promise<Section>>> = {
  'completion-redis': (setting) => measureCompletion(setting, 'redis'),
  'completion-redis-alone': (setting) => measureCompletion(setting, 'redis', 'alone'),
  'completion-redis-work': (setting) => measureCompletion(setting, 'redis', 'work'),
  'completion-postgres': (setting) => measureCompletion(setting, 'postgres'),
  'completion-peers': measurePeers,
  pickup: measurePickup,
  enqueue: measureEnqueue,
  steps: measureSteps,
  growth: measureGrowth,
  pressure: measurePressure,
};
/** Runs for half an hour. */
const onlyByName = new Set(['pressure']);

interface RunOptions {
  /** Names or beginnings of names of sections; none: all of them. */
  readonly only?: readonly string[];
  readonly dist?: string;
  readonly concurrency?: number;
  readonly window?: number;
  readonly rounds?: number;
  readonly minutes?: number;
  /** Of the pressure; the first one always runs. Default: all. */
  readonly phases?: readonly string[];
}

export interface JobsBench {
  readonly about: About;
  readonly sections: readonly Section[];
}

const root = join(import.meta.dirname, '..');

export async function run(options: RunOptions = {}): Promise<JobsBench> {
  const { only = [], dist = join(root, 'dist'), window, rounds = 5, minutes = 5, phases } = options;
  const concurrency = window ?? options.concurrency ?? 50;
  const names = Object.keys(sections).filter(
    (name) =>
      (only.length === 0 && !onlyByName.has(name)) || only.some((word) => name.startsWith(word)),
  );
  if (names.length === 0) throw new Error(`--only takes ${Object.keys(sections).join(', ')}`);
  const startedMs = performance.now();
  const servers = await startServers();
  try {
    const setting = {
      build: await loadBuild(dist),
      dist,
      servers,
      concurrency,
      rounds,
      begunAhead: window === undefined ? defaultBegunAhead : 0,
      jobsPerEntry: 100,
      minutes,
      phases,
    };
    const measured: Section[] = [];
    for (const name of names) {
      const section = await sections[name]?.(setting);
      if (section !== undefined) measured.push(section);
    }
    const about = aboutRun(
      servers,
      `concurrency=${concurrency} rounds=${rounds} LOG_LEVEL=${logLevel}, 1 thread of handlers, 10 tenants`,
      startedMs,
    );
    return { about, sections: measured };
  } finally {
    await servers.stop();
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', multiple: true },
      json: { type: 'boolean' },
      concurrency: { type: 'string' },
      window: { type: 'string' },
      rounds: { type: 'string' },
      minutes: { type: 'string' },
      phase: { type: 'string', multiple: true },
      dist: { type: 'string' },
    },
  });
  const { about, sections: measured } = await run({
    ...(values.only === undefined ? {} : { only: values.only }),
    ...(values.dist === undefined ? {} : { dist: values.dist }),
    ...(values.phase === undefined ? {} : { phases: values.phase }),
    ...(values.concurrency === undefined ? {} : { concurrency: Number(values.concurrency) }),
    ...(values.window === undefined ? {} : { window: Number(values.window) }),
    ...(values.rounds === undefined ? {} : { rounds: Number(values.rounds) }),
    ...(values.minutes === undefined ? {} : { minutes: Number(values.minutes) }),
  });
  if (values.json === true) console.log(JSON.stringify({ about, sections: measured }, null, 2));
  else {
    for (const [name, value] of Object.entries(about)) console.log(`${name.padEnd(10)} ${value}`);
    for (const section of measured) printSection(section);
  }
}
