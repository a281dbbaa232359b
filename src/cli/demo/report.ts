/** What the demo prints at its end: one JSON object, or a table of the tenants with a summary. */
import type { SplitResult } from '../../costs/uploads/tenants.ts';
import type { Invocation } from '../terminal/command.ts';
import { formatTable } from '../terminal/table.ts';
import { offlinePriceModel } from './fleet.ts';
import type { DemoFleet } from './fleet.ts';
import { readState, readTenants } from './queries.ts';
import type { DemoState, DemoTenant } from './queries.ts';

/** All facts are read from the database. */
export async function printReport(
  invocation: Invocation,
  { database: { system: sql }, queues, llm }: DemoFleet,
  { uploads }: SplitResult,
): Promise<void> {
  const tenantIds = uploads.map(({ tenantId }) => tenantId);
  const uploadIds = uploads.map(({ uploadId }) => uploadId);
  const offline = llm.kind === 'offline';
  const state = await readState(sql, tenantIds, uploadIds, {
    provider: offline ? 'offline analyst' : `${llm.kind} ${llm.model}`,
    queueBackend: queues.backend.kind,
  });
  if (invocation.flag('json')) {
    invocation.print(JSON.stringify(state));
    return;
  }
  invocation.print(`\n${tenantTable(await readTenants(sql, tenantIds))}\n`);
  for (const line of summary(state)) invocation.print(line);
  if (offline) {
    invocation.print(
      `No LLM was called: the offline analyst computes statistics. Its tokens are priced like ${offlinePriceModel}'s, so that budgets change.`,
    );
  }
  for (const refusal of state.refused) invocation.print(`refused (402): ${refusal.reason}`);
}

function summary(state: DemoState): string[] {
  const { rowsIngested, tenants, billedCostUsd, jobs, llm } = state;
  const others = state.otherBilledCosts.map(({ currency, cost }) => ` and ${cost} ${currency}`);
  const jobCounts = Object.entries(jobs)
    .map(([state, count]) => `${count} ${state}`)
    .join(', ');
  return [
    `${rowsIngested} rows of ${tenants} tenants, billed cost $${billedCostUsd}${others.join('')}; jobs: ${jobCounts}`,
    `${llm.provider}: ${llm.calls} calls, $${llm.spentUsd} spent, $${llm.reservedUsd} reserved`,
  ];
}

function tenantTable(tenants: readonly DemoTenant[]): string {
  return formatTable(
    ['tenant', 'cohort', 'cost USD', 'analysis', 'spent USD', 'limit USD'],
    tenants.map((tenant) => [
      tenant.tenantId,
      tenant.cohort,
      tenant.cost,
      tenant.refusal === null ? tenant.headline : `refused: ${tenant.refusal}`,
      tenant.spentUsd,
      tenant.limitUsd,
    ]),
    72,
  );
}
