/** Calls with faults and the log of them, for tests that compare both. */
import type { Sql } from '../../../src/db/connect.ts';
import type { ProviderFixture } from '../../support/llm-attempt.ts';
import { addPrices, billedCalls, faultsEvery, runCalls } from './faulty-calls.ts';
import type { Billed, LedgerCallRow, TestModel } from './faulty-calls.ts';
import { removeTenants } from '../../support/tenants.ts';

const models: readonly TestModel[] = [
  { name: 'log-small', inputMicroUsd: 150_000, outputMicroUsd: 600_000 },
  // Its calls cost fractions of a nano-dollar, which are rounded up.
  { name: 'log-odd', inputMicroUsd: 37_525, outputMicroUsd: 411_115 },
];

export const record = { by: 'tester', reason: 'the log of the gateway' };

const dayMs = 86_400_000;

/** Every call of the file's database. */
export const everything = () => ({
  provider: 'openai',
  from: new Date(Date.now() - dayMs),
  to: new Date(Date.now() + dayMs),
  isComplete: true,
});

export interface LoggedCalls {
  readonly sql: Sql;
  readonly made: readonly LedgerCallRow[];
  readonly billed: readonly Billed[];
}

/** Replaces the tenants and their calls by new ones, of which one in `every` fails. */
export async function callsWithFaults(
  { database, provider }: ProviderFixture,
  calls: number,
  every: number,
): Promise<LoggedCalls> {
  const { sql } = database;
  await removeTenants(sql);
  await addPrices(sql, models);
  const script = faultsEvery(every, calls);
  const made = await runCalls(sql, provider, { protocol: 'openai', models, calls, script });
  return { sql, made, billed: billedCalls(provider, made, models, () => '') };
}
