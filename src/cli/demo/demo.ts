/**
 * `purser demo`: the main job end to end on this machine. A data set of many tenants (generated, or your
 * file) is uploaded, scheduled, analysed within each tenant's budget, and shown.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { finopsJobTypes, requireBuiltins } from '../../builtins.ts';
import { setBudget } from '../../budget/budgets.ts';
import type { Config } from '../../config.ts';
import type { Database } from '../../db/database.ts';
import { codeOf, exitCodes, PurserError } from '../../errors.ts';
import { uploadByTenantColumn } from '../../costs/uploads/tenants.ts';
import type { SplitResult } from '../../costs/uploads/tenants.ts';
import { Lifecycle, stopOnSignals } from '../../process/lifecycle.ts';
import { createLogger } from '../../log.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import {
  countFinished,
  countUnfinished,
  reasonOfWaiting,
  readState,
  readTenants,
  tenantTable,
} from './report.ts';
import { chooseDatabase, chooseFile } from './input.ts';
import type { Session } from './input.ts';
import { ensureTenant } from '../runtime/ensure-tenant.ts';
import { enqueueIngestion } from '../commands/ingest.ts';
import { inputFile } from '../terminal/input-file.ts';
import { wholeNumber } from '../terminal/parse.ts';
import { progressBar } from '../terminal/progress.ts';
import {
  llmProviderOf,
  startSchedulerRole,
  startWebRole,
  startWorkerRole,
  systemConnections,
} from '../runtime/roles.ts';
import { openQueues, openServiceDatabase } from '../runtime/services.ts';
import { openWorkerParts } from '../runtime/worker-parts.ts';

const tenantColumn = 'SubAccountId';
/** The offline analyst costs nothing; the demo charges its tokens like this model's, so that budgets move. */
const priceAs = 'gpt-4o-mini';
const plans = ['enterprise', 'growth', 'starter', 'pro', 'free'] as const;
/** Without progress for so long, the demo says what it waits for. */
const stuckMs = 15_000;
const longAgo = new Date('2026-01-01T00:00:00Z');

/** Tenants get plans in turn, and the first one of the file a budget of zero. */
async function upload(session: Session, database: Database, path: string): Promise<SplitResult> {
  const { invocation, lifecycle } = session;
  let seen = 0;
  const bar = progressBar(invocation, 'uploading');
  return uploadByTenantColumn({
    database,
    path,
    column: tenantColumn,
    onReady: enqueueIngestion,
    onProgress: (done, total) => {
      if (lifecycle.stopSignal.aborted) {
        throw new PurserError('interrupted', 'stopped while uploading');
      }
      bar.update(done, total);
    },
    ensureTenant: async (sql, tenantId) => {
      const index = seen;
      seen += 1;
      const added = await ensureTenant(sql, tenantId, {
        create: true,
        plan: plans[index % plans.length],
        lastActiveAt: index % 3 === 2 ? longAgo : new Date(),
      });
      if (added && index === 0) {
        await setBudget(sql, { tenantId, monthlyLimitUsd: '0', hard: true });
      }
    },
  }).finally(bar.end);
}

async function watch(
  session: Session,
  database: Database,
  tenantIds: readonly string[],
): Promise<void> {
  const { invocation, lifecycle } = session;
  const bar = progressBar(invocation, 'working');
  let progress = { finished: -1, at: Date.now() };
  try {
    for (;;) {
      const unfinished = await countUnfinished(database.system, tenantIds);
      const finished = await countFinished(database.system, tenantIds);
      bar.update(finished, finished + unfinished);
      if (unfinished === 0) return;
      if (finished !== progress.finished) progress = { finished, at: Date.now() };
      if (Date.now() - progress.at > stuckMs) {
        const reason = await reasonOfWaiting(database.system, tenantIds);
        invocation.note(
          `${unfinished} jobs are waiting${reason === undefined ? '' : `: ${reason}`}`,
        );
        progress = { finished, at: Date.now() };
      }
      if (lifecycle.stopSignal.aborted) {
        throw new PurserError('interrupted', `stopped with ${unfinished} jobs still to do`);
      }
      await sleep(200);
    }
  } finally {
    bar.end();
  }
}

async function runDemo(session: Session): Promise<number> {
  const { invocation, lifecycle } = session;
  const port = wholeNumber(invocation, 'port', session.config.PORT, { min: 0, max: 65_535 });
  const given = invocation.value('focus');
  if (given !== undefined) await inputFile(given);
  const config = await chooseDatabase(session);
  const log = createLogger({ level: config.LOG_LEVEL, role: 'demo' });
  const database = await openServiceDatabase(config, lifecycle, {
    name: 'demo',
    systemConnections: Object.values(systemConnections).reduce((sum, count) => sum + count, 0),
    tenantConnections: 2,
    tenantThreads: true,
  });
  const provider = llmProviderOf(config);
  const llm = provider.kind === 'offline' ? { ...provider, priceAs } : provider;
  const parts = await openWorkerParts(config, lifecycle, { database, llm });
  const queues = openQueues(config, lifecycle, {
    database,
    workers: parts.executors.jobTypes.size,
    name: 'demo',
    log,
  });
  const context = { config, lifecycle, database, queues };
  startSchedulerRole(context);
  await startWorkerRole(context, parts);
  const web = await startWebRole(context, port).catch((error: unknown) => {
    if (invocation.value('port') !== undefined || codeOf(error) !== 'port_unavailable') throw error;
    invocation.note(`port ${port} is taken, so the dashboard gets a free one`);
    return startWebRole(context, 0);
  });
  invocation.note(`scheduler, worker and web are running (queues in ${queues.backend.kind})`);

  const split = await upload(
    session,
    database,
    await chooseFile(invocation, config.PURSER_DATA_DIR),
  );
  for (const fault of split.faults.slice(0, 20)) {
    invocation.note(`line ${fault.line}, ${fault.column ?? 'row'}: ${fault.reason}`);
  }
  const tenantIds = split.uploads.map(({ tenantId }) => tenantId);
  await watch(session, database, tenantIds);

  const state = await readState(
    database.system,
    tenantIds,
    split.uploads.map(({ uploadId }) => uploadId),
    {
      provider: llm.kind === 'offline' ? 'offline analyst' : `${llm.kind} ${llm.model}`,
      queueBackend: queues.backend.kind,
    },
  );
  if (invocation.flag('json')) invocation.print(JSON.stringify(state));
  else {
    invocation.print(`\n${tenantTable(await readTenants(database.system, tenantIds))}\n`);
    invocation.print(
      `${state.rowsIngested} rows of ${state.tenants} tenants, billed cost $${state.billedCostUsd}; ` +
        `jobs: ${Object.entries(state.jobs)
          .map(([name, count]) => `${count} ${name}`)
          .join(', ')}`,
    );
    invocation.print(
      `${state.llm.provider}: ${state.llm.calls} calls, $${state.llm.spentUsd} spent, $${state.llm.reservedUsd} reserved` +
        (llm.kind === 'offline'
          ? `\nNo LLM was called: the offline analyst is statistics. Its tokens are priced like ${priceAs}'s, so that budgets move.`
          : ''),
    );
    for (const refusal of state.refused) invocation.print(`refused (402): ${refusal.reason}`);
  }
  if (invocation.flag('once')) return exitCodes.ok;
  invocation.note(`\ndashboard: http://127.0.0.1:${web.port}/  login: ${web.user}`);
  if (web.generatedPassword !== undefined) invocation.note(`password: ${web.generatedPassword}`);
  invocation.note('The fleet keeps running; Ctrl-C stops it. Data stays for the next run.');
  await lifecycle.untilStopped();
  return exitCodes.ok;
}

async function run(invocation: Invocation): Promise<number> {
  const given = invocation.config();
  requireBuiltins('demo', finopsJobTypes, given.PURSER_BUILTINS);
  // Every attempt's line would drown the demo's own; LOG_LEVEL=debug brings them back.
  const config: Config = given.LOG_LEVEL === 'info' ? { ...given, LOG_LEVEL: 'fatal' } : given;
  const lifecycle = new Lifecycle(createLogger({ level: config.LOG_LEVEL, role: 'demo' }));
  const ignoreSignals = stopOnSignals(lifecycle);
  try {
    return await runDemo({ invocation, config, lifecycle });
  } finally {
    await lifecycle.close();
    ignoreSignals();
    // An exit waits for every thread, and this one waits for no one.
    if (lifecycle.byForce) process.kill(process.pid, 'SIGKILL');
  }
}

export const demoCommands: readonly Command[] = [
  {
    path: 'demo',
    summary: 'watch the whole fleet do its main job here, on generated data or on your FOCUS file',
    options: {
      once: { help: 'exit when the work is done' },
      focus: { value: 'FILE', help: 'a FOCUS CSV; SubAccountId names the tenants' },
      json: { help: 'one JSON object instead of the table' },
      port: { value: 'N', help: 'port of the dashboard (default PORT; 0: a free one)' },
      data: { value: 'DIR', help: 'data folder of the private Postgres (default PURSER_DATA_DIR)' },
    },
    run,
  },
];
