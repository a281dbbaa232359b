/** The commands of money among those that are walked. */
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { billOf } from '../../../src/budget/bill.ts';
import { setPrice } from '../../../src/budget/prices/set.ts';
import { recordUsage } from '../../../src/budget/settle.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { reserve } from '../../support/holds.ts';
import type { TestAttempt } from '../../support/tenants.ts';
import type { ForOperator, WalkedCommand } from './walked-commands.ts';

const ofTenant = ({ tenantId }: ForOperator): string[] => ['--tenant', tenantId];
const words = (text: string): string[] => text.split(' ');

const price = {
  source: 'operator',
  model: 'dear',
  rates: { input: { usd: '1' }, output: { usd: '1' } },
} as const;

/** A settled call at a price that was corrected since. */
export async function addCorrectedCall(sql: Sql, attempt: TestAttempt): Promise<void> {
  const rates = { input: { usd: '2' }, output: { usd: '2' } };
  const why = { from: new Date('2020-01-01'), by: 'test', reason: 'test' };
  await setPrice(sql, { tenantId: null, provider: null, model: 'dear', rates, ...why });
  const { reservationId } = await reserve(sql, attempt, '0.1', { model: 'dear', price });
  const { items } = billOf(price, { input: 10 });
  await recordUsage(sql, { reservationId, items });
}

export const walkedMoneyCommands: readonly WalkedCommand[] = [
  {
    path: 'tenants remove',
    covers: [
      'operations/tenants/remove.ts deleteTenant',
      'operations/tenants/remove.ts lockTenant',
    ],
    args: ({ tenantId }) => [`${tenantId}-closed`, '--reason', 'walk'],
  },
  { path: 'budget show', reads: true },
  {
    path: 'budget set',
    covers: ['budget/budgets.ts setLimit'],
    args: (tenant) => [...ofTenant(tenant), '--monthly-limit', '5'],
  },
  { path: 'budget verify', reads: true },
  {
    path: 'budget close',
    covers: ['budget/closing/close.ts closeSome'],
    args: () => words('--month 2020-01'),
  },
  {
    path: 'budget top-up',
    covers: ['budget/resolve.ts topUpMonth'],
    args: (tenant) => [...ofTenant(tenant), '--usd', '1', '--reason', 'test'],
  },
  {
    path: 'budget resolve',
    covers: ['budget/resolve.ts resolveUnknown'],
    args: ({ unknownHold }) => [
      unknownHold,
      '--usd',
      '1',
      '--evidence',
      'invoice',
      '--reason',
      'test',
    ],
  },
  {
    path: 'scopes set',
    covers: ['budget/scopes.ts lockScope', 'budget/scopes.ts setScope'],
    args: (tenant) => [...ofTenant(tenant), '--kind', 'tenant', '--each', 'day', '--limit', '5'],
  },
  {
    path: 'scopes remove',
    covers: ['budget/scopes.ts removeScope'],
    args: (tenant) => [...ofTenant(tenant), '--kind', 'tenant', '--each', 'day'],
  },
  {
    path: 'fleet-scopes set',
    covers: [
      'budget/fleet/scopes.ts awaitReserves',
      'budget/fleet/scopes.ts fillScope',
      'budget/fleet/scopes.ts readFleetScope',
      'budget/fleet/scopes.ts setFleetScope',
    ],
    args: () => words('--kind fleet --each day --limit 1000000'),
  },
  {
    path: 'fleet-scopes remove',
    covers: ['budget/fleet/scopes.ts removeFleetScope'],
    args: () => words('--kind fleet --each day'),
  },
  { path: 'fleet-scopes list', reads: true },
  { path: 'budget alerts', reads: true },
  { path: 'scopes list', reads: true },
  {
    path: 'llm stop',
    covers: ['budget/stops.ts lockStop', 'budget/stops.ts setStop'],
    args: (tenant) => [...ofTenant(tenant), '--reason', 'test'],
  },
  { path: 'llm resume', covers: ['budget/stops.ts liftStop'], args: ofTenant },
  { path: 'llm stops', reads: true },
  { path: 'llm breakers', reads: true },
  {
    path: 'llm breakers reset',
    covers: ['llm/breaker/store.ts resetBreaker'],
    args: ({ tenantId }) => [`credential:test/own/${tenantId}`],
  },
  {
    path: 'llm keys set',
    covers: ['llm/keys/stored-keys.ts lockOwnKey', 'llm/keys/stored-keys.ts setOwnKey'],
    args: ({ tenantId }) => [tenantId, ...words('--provider openai')],
  },
  { path: 'llm keys list', reads: true },
  {
    path: 'llm keys remove',
    covers: ['llm/keys/stored-keys.ts removeOwnKey'],
    args: ({ tenantId }) => [tenantId, ...words('--provider anthropic')],
  },
  {
    path: 'prices sync',
    covers: ['budget/prices/versions.ts lockPrices'],
    args: () => ['--provider', 'groq'],
  },
  { path: 'prices show', reads: true },
  {
    path: 'prices set',
    covers: ['budget/prices/versions.ts insertVersions'],
    args: (tenant) => [...ofTenant(tenant), ...words('--model m --input 1 --output 1 --reason x')],
  },
  {
    path: 'prices clear',
    args: (tenant) => [...ofTenant(tenant), '--model', 'm', '--reason', 'walk'],
  },
  {
    path: 'prices rerate',
    covers: ['budget/rerate/rerate.ts writeBatch'],
    args: (tenant) => [
      ...ofTenant(tenant),
      ...words('--model dear --from 2020-01-01 --apply --reason x'),
    ],
  },
  { path: 'budget report', reads: true },
  { path: 'budget unknown', reads: true },
  {
    path: 'budget reconcile',
    reads: true,
    args: (_, file) => {
      const costs = join(dirname(file), 'costs.csv');
      writeFileSync(costs, 'start_time,amount_value\n2020-01-01,0\n');
      return ['--provider', 'openai', '--file', costs];
    },
  },
];
