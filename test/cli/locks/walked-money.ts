/** The commands of money among those that are walked. */
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { ForOperator, WalkedCommand } from './walked-commands.ts';

const ofTenant = ({ tenantId }: ForOperator): string[] => ['--tenant', tenantId];
const words = (text: string): string[] => text.split(' ');

export const walkedMoneyCommands: readonly WalkedCommand[] = [
  { path: 'budget show', reads: true },
  {
    path: 'budget set',
    covers: ['budget/budgets.ts setBudget'],
    args: (tenant) => [...ofTenant(tenant), '--monthly-limit', '5'],
  },
  { path: 'budget verify', reads: true },
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
    covers: ['budget/scopes.ts setScope'],
    args: (tenant) => [...ofTenant(tenant), '--kind', 'tenant', '--each', 'day', '--limit', '5'],
  },
  {
    path: 'scopes remove',
    covers: ['budget/scopes.ts removeScope'],
    args: (tenant) => [...ofTenant(tenant), '--kind', 'tenant', '--each', 'day'],
  },
  { path: 'budget alerts', reads: true },
  { path: 'scopes list', reads: true },
  {
    path: 'llm stop',
    covers: ['budget/stops.ts setStop'],
    args: (tenant) => [...ofTenant(tenant), '--reason', 'test'],
  },
  { path: 'llm resume', covers: ['budget/stops.ts liftStop'], args: ofTenant },
  { path: 'llm stops', reads: true },
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
