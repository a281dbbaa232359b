/**
 * The load test of the checklist: the cost analyses of 100 tenants are due at the same moment, on a fleet of two
 * schedulers and two workers with a Postgres, a Redis and an LLM provider of their own. Ends with exit code 1 after a
 * deadlock, a job too many or too few, or an overspend. Linux.
 * Usage: npm run bench:load -- [--json] [--concurrency N] [--llm-ms N] [--dist FOLDER]. --concurrency is that of each worker.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { verifyBudgets } from '../src/budget/verify.ts';
import { aboutRun } from './jobs/about.ts';
import { loadBuild } from './jobs/build.ts';
import { printSection, rounded } from './jobs/report.ts';
import type { Section } from './jobs/report.ts';
import { startServers } from './jobs/servers.ts';
import { figuresOf } from './load/figures.ts';
import type { Figures } from './load/figures.ts';
import { databaseName, startLoadFleet, tenantCount } from './load/fleet.ts';
import { parallelCalls, runPhase } from './load/phase.ts';
import type { Outcome, Phase } from './load/phase.ts';
import { measuringSettings, openStatements } from './load/statements.ts';

const { values } = parseArgs({
  options: {
    json: { type: 'boolean' },
    concurrency: { type: 'string' },
    'llm-ms': { type: 'string' },
    dist: { type: 'string' },
  },
});
const { dist = join(import.meta.dirname, '..', 'dist') } = values;
const concurrency = Number(values.concurrency ?? 50);
const llmMs = Number(values['llm-ms'] ?? 300);
const analysis = { jobType: 'finops_analysis', llmMs } as const;
const parallel = { jobType: 'load_parallel', llmMs } as const;
const phases: readonly Phase[] = [
  { ...analysis, name: 'one schedule' },
  { ...analysis, name: 'a schedule each', ownSchedules: true },
  { ...analysis, name: 'LLM answers at once', llmMs: 0 },
  { ...parallel, name: `${parallelCalls} calls each` },
  { ...parallel, name: `${parallelCalls} calls each, budget for 2`, budgetForHolds: 2.5 },
];

/** Parts of the texts of statements. */
const statementNames = {
  'due expressions': 'purser.due_crons(',
  claim: 'purser.claim_schedules(',
  'look for work': 'purser.types_with_work(',
  dispatch: 'purser.dispatch_jobs(',
  'budget: reserve': 'purser.budget_reserve(',
  'budget: mark as sent': 'update llm_reservations set sent_at',
  'budget: settle': 'purser.budget_settle(',
};

function statementRows({ statements }: Outcome): Section['rows'] {
  const totalMs = statements.reduce((sum, { execMs }) => sum + execMs, 0);
  const named = Object.entries(statementNames).map(([statement, part]) => {
    const some = statements.filter(({ query }) => query.includes(part));
    const calls = some.reduce((sum, each) => sum + each.calls, 0);
    const execMs = some.reduce((sum, each) => sum + each.execMs, 0);
    const share = `${((100 * execMs) / totalMs).toFixed(1)} %`;
    return { statement, calls, 'mean ms': rounded(execMs / calls, 2), 'of all statements': share };
  });
  const calls = statements.reduce((sum, each) => sum + each.calls, 0);
  const all = { statement: 'all', calls, 'mean ms': rounded(totalMs / calls, 2) };
  return [...named, { ...all, 'of all statements': '100 %' }];
}

function sectionsOf(measured: readonly Figures[], first: Outcome): Section[] {
  const waiting = measured.filter((_, index) => (phases[index]?.llmMs ?? 0) > 0);
  const most = Math.max(...waiting.map(({ budgetMs, attemptMs }) => budgetMs / attemptMs));
  return [
    {
      name: 'load',
      title: `${tenantCount} tenants are due at the same moment; ms from then to the end of the job`,
      rows: measured.map(({ jobs }) => jobs),
      notes: [`2 workers of ${concurrency} slots and 1 thread each, 2 schedulers.`],
    },
    {
      name: 'scheduler',
      title:
        'from the begin of the first claim to the commit of the last, and to the last dispatch',
      rows: measured.map(({ scheduler }) => scheduler),
      notes: ['A scheduler looks for due schedules once a second.'],
    },
    {
      name: 'budget',
      title: 'means of an attempt and of a call in it; shares of the attempt',
      rows: measured.map(({ time }) => time),
      notes: [
        'reserve: in the worker, its waits included. settle: in Postgres, to the end of its commit. Between them, beside the LLM: the mark as sent, HTTP, and waits for a connection.',
        `Reserve and settle take ${(100 * most).toFixed(1)} % of an attempt at most, where the LLM takes ${llmMs} ms; not the bottleneck (less than half): ${most < 0.5 ? 'met' : 'not met'}.`,
      ],
    },
    {
      name: 'money',
      title: 'holds of all calls, what they cost, and what any tenant has above its limit',
      rows: measured.map(({ money }) => money),
      notes: [],
    },
    {
      name: 'statements',
      title: `in Postgres, of the phase "${first.phase.name}"`,
      rows: statementRows(first),
      notes: [],
    },
  ];
}

const startedMs = performance.now();
const servers = await startServers(measuringSettings);
try {
  const build = await loadBuild(dist);
  const fleet = await startLoadFleet(build, dist, servers, concurrency);
  const statements = await openStatements(servers, build.connect, databaseName);
  try {
    const measured: Figures[] = [];
    const outcomes: Outcome[] = [];
    for (const phase of phases) {
      const outcome = await runPhase(fleet, statements, phase);
      outcomes.push(outcome);
      measured.push(await figuresOf(fleet.sql, outcome));
    }
    const { differences } = await verifyBudgets(fleet.sql);
    const faults = [
      ...measured.flatMap((each, index) =>
        each.faults.map((fault) => `${phases[index]?.name}: ${fault}`),
      ),
      ...differences.map(({ tenantId, name }) => `budget verify, ${tenantId}: ${name}`),
    ];
    const [first] = outcomes;
    if (first === undefined) throw new Error('no phase ran');
    const sections = sectionsOf(measured, first);
    const settings = `WORKER_CONCURRENCY=${concurrency}, LLM ${llmMs} ms, ${Object.keys(measuringSettings).join(' ')}`;
    const about = aboutRun(servers, settings, startedMs);
    if (values.json === true) console.log(JSON.stringify({ about, sections, faults }, null, 2));
    else {
      for (const [name, value] of Object.entries(about)) console.log(`${name.padEnd(10)} ${value}`);
      for (const section of sections) printSection(section);
      for (const fault of faults) console.log(`FAULT ${fault}`);
    }
    process.exitCode = faults.length === 0 ? 0 : 1;
  } finally {
    await statements.close();
    await fleet.stop();
  }
} finally {
  await servers.stop();
}
