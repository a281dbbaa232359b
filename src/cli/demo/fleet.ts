/** Starts the three roles in this process, as `start all` does, with the offline analyst's calls priced. */
import type { Config } from '../../config.ts';
import type { Database } from '../../db/database.ts';
import { codeOf } from '../../errors.ts';
import type { LlmProviderConfig } from '../../llm/create-llm.ts';
import { createLogger } from '../../log.ts';
import { startSchedulerRole } from '../roles/scheduler.ts';
import { startWebRole } from '../roles/web.ts';
import type { WebAddress } from '../roles/web.ts';
import { announceWorker, startWorkerRole } from '../roles/worker.ts';
import { llmProviderOf } from '../runtime/llm-provider.ts';
import { registerOwn } from '../runtime/register-own.ts';
import { systemConnections } from '../runtime/roles.ts';
import { openQueues, openServiceDatabase } from '../runtime/services.ts';
import type { Queues } from '../runtime/services.ts';
import { openWorkerParts, ownJobTypes } from '../runtime/worker-parts.ts';
import type { DemoRun } from './database.ts';

/** The offline analyst is free; the demo charges its tokens at this model's price, so that budgets change. */
export const offlinePriceModel = 'gpt-4o-mini';

export interface DemoFleet {
  readonly database: Database;
  readonly queues: Queues;
  readonly llm: LlmProviderConfig;
  readonly web: WebAddress;
}

export async function startFleet(
  { invocation, lifecycle }: DemoRun,
  config: Config,
  port: number,
): Promise<DemoFleet> {
  const log = createLogger({ level: config.LOG_LEVEL, role: 'demo' });
  const database = await openServiceDatabase(config, lifecycle, {
    name: 'demo',
    systemConnections: Object.values(systemConnections).reduce((sum, count) => sum + count, 0),
    tenantConnections: 2,
    tenantThreads: true,
  });
  const provider = llmProviderOf(config);
  const llm = provider.kind === 'offline' ? { ...provider, priceAs: offlinePriceModel } : provider;
  const parts = await openWorkerParts(config, lifecycle, { database, llm });
  await registerOwn(database.system, ownJobTypes(parts));
  const queues = openQueues(config, lifecycle, {
    database,
    workers: parts.executors.jobTypes.size,
    name: 'demo',
    log,
  });
  const context = { config, lifecycle, database, queues };
  startSchedulerRole(context);
  await announceWorker(context, parts, database.system);
  startWorkerRole(context, parts);
  const web = await startWebRole(context, { port }).catch((error: unknown) => {
    if (invocation.value('port') !== undefined || codeOf(error) !== 'port_unavailable') throw error;
    invocation.note(`port ${port} is in use; the dashboard gets a free port`);
    return startWebRole(context, { port: 0 });
  });
  invocation.note(`scheduler, worker and web are running (queues in ${queues.backend.kind})`);
  return { database, queues, llm, web };
}
