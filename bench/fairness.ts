/**
 * Fairness between tenants: what jobs of others wait beside a flood of one, beside plain BullMQ; shares by weight; a
 * backlog of a million jobs; what limits cost. Servers and built processes of its own, as bench:jobs. Linux.
 * Usage: npm run bench:fairness -- [--only NAME] [--json] [--concurrency N] [--begun-ahead N] [--jobs-per-entry N]
 * [--dist FOLDER]. --begun-ahead and --jobs-per-entry are WORKER_BEGUN_AHEAD and SCHEDULER_JOBS_PER_ENTRY, with their defaults.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { measureBacklog } from './fairness/backlog.ts';
import { measureFlood } from './fairness/flood.ts';
import { measureLimits } from './fairness/limits.ts';
import { published } from './fairness/published.ts';
import { measureWeights } from './fairness/weights.ts';
import { aboutRun } from './jobs/about.ts';
import { loadBuild } from './jobs/build.ts';
import { defaultBegunAhead, logLevel } from './jobs/fleet.ts';
import type { Setting } from './jobs/fleet.ts';
import { printSection } from './jobs/report.ts';
import type { Section } from './jobs/report.ts';
import { startServers } from './jobs/servers.ts';

const sections: Readonly<Record<string, (setting: Setting) => Promise<Section>>> = {
  flood: measureFlood,
  weights: measureWeights,
  backlog: measureBacklog,
  limits: measureLimits,
  published,
};

const { values } = parseArgs({
  options: {
    only: { type: 'string', multiple: true },
    json: { type: 'boolean' },
    concurrency: { type: 'string' },
    'begun-ahead': { type: 'string' },
    'jobs-per-entry': { type: 'string' },
    dist: { type: 'string' },
  },
});
const { only = [], dist = join(import.meta.dirname, '..', 'dist') } = values;
const concurrency = Number(values.concurrency ?? 20);
const begunAhead = Number(values['begun-ahead'] ?? defaultBegunAhead);
const jobsPerEntry = Number(values['jobs-per-entry'] ?? 100);
const chosen = Object.entries(sections).filter(
  ([name]) => only.length === 0 || only.some((word) => name.startsWith(word)),
);
if (chosen.length === 0) throw new Error(`--only takes ${Object.keys(sections).join(', ')}`);
const startedMs = performance.now();
const servers = await startServers();
try {
  const setting: Setting = {
    build: await loadBuild(dist),
    dist,
    servers,
    concurrency,
    begunAhead,
    jobsPerEntry,
    rounds: 1,
    minutes: 1,
  };
  const measured: Section[] = [];
  for (const [, measure] of chosen) measured.push(await measure(setting));
  const settings = `concurrency=${concurrency} WORKER_BEGUN_AHEAD=${begunAhead} SCHEDULER_JOBS_PER_ENTRY=${jobsPerEntry} LOG_LEVEL=${logLevel}, 1 thread of handlers`;
  const about = aboutRun(servers, settings, startedMs);
  if (values.json === true) console.log(JSON.stringify({ about, sections: measured }, null, 2));
  else {
    for (const [name, value] of Object.entries(about)) console.log(`${name.padEnd(10)} ${value}`);
    for (const section of measured) printSection(section);
  }
} finally {
  await servers.stop();
}
