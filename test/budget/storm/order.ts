/** What the storm and its worker processes tell each other. */
import type { TestAttempt } from '../../support/tenants.ts';

/** See ScopeTarget. */
export interface StormScope {
  readonly kind: 'tenant' | 'model' | 'job';
  readonly subject?: string;
  readonly period: 'day' | 'month' | 'job';
  readonly timeZone?: string;
  readonly counts: 'usd' | 'calls';
  /** Added while the storm runs. */
  readonly late?: boolean;
}

export interface StormTenant {
  readonly attempt: TestAttempt;
  /** At the start. Holds are fractions of it. */
  readonly limitNanoUsd: string;
  /** Its limit is changed all the time, to about what is used. Its periods exist from the start. */
  readonly changing: boolean;
  readonly scopes: readonly StormScope[];
}

export interface Order {
  readonly url: string;
  readonly providerUrl: string;
  readonly seed: number;
  /** Concurrent clients of one process. */
  readonly lanes: number;
  /** The clock of the storm: from here, in milliseconds since 1970, over `spanMs`, as it advances. */
  readonly startsAt: number;
  readonly spanMs: number;
  readonly tenants: readonly StormTenant[];
}

export const price = {
  source: 'test',
  model: 'storm',
  rates: { input: { usd: '1' }, output: { usd: '1' } },
} as const;

/** Where a process is killed: after its reserve, its mark as sent, its call; while it settles; at any moment. */
export const crashPoints = ['reserved', 'sent', 'called', 'settling', 'anywhere'] as const;
export type CrashPoint = (typeof crashPoints)[number];

export type Message =
  | { readonly kind: 'start'; readonly order: Order }
  /** From 0 to 1. */
  | { readonly kind: 'progress'; readonly progress: number }
  /** The next lane that gets there says so and waits to be killed. */
  | { readonly kind: 'crash'; readonly point: CrashPoint }
  | { readonly kind: 'stop' };

export type Answer =
  /** Since the last ones. */
  | { readonly kind: 'counts'; readonly counts: Counts }
  | { readonly kind: 'at'; readonly point: CrashPoint; readonly reservationId: string }
  /** Something that must not happen. */
  | { readonly kind: 'fault'; readonly fault: string };

/** Calls of the functions of money, by what became of them. */
export const countNames = [
  'reserved',
  'refused',
  'replayed reserves',
  'sent',
  'settled',
  'settled late',
  'replayed settlements',
  'released',
  'marked unknown',
  'sweeps',
  'limits set',
  'scopes set',
  'lock timeouts',
] as const;
export type CountName = (typeof countNames)[number];
export type Counts = Partial<Record<CountName, number>>;

/** What counts as an operation of the storm; crashes are added. */
const operations: readonly CountName[] = [
  'reserved',
  'refused',
  'replayed reserves',
  'settled',
  'settled late',
  'replayed settlements',
];

export const operationsOf = (counts: Counts): number =>
  operations.reduce((sum, name) => sum + (counts[name] ?? 0), 0);
