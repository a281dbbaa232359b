/**
 * The circuit breakers as one worker sees them. It reads them at most once a second, while it makes calls; it counts
 * how its calls end, and writes changes of state only, at most one statement a second. A database that is away fails
 * no call here: what was known stays known.
 */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Sql } from '../../db/connect.ts';
import { codeOf, messageOf } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { LlmError } from '../llm.ts';
import { breakersOf, nameOf } from './breaker-id.ts';
import type { BreakerId, BreakerKind, Route } from './breaker-id.ts';
import { changeBreakers, readOpen, takeProbe } from './store.ts';
import type { BreakerChange, BreakerState, OpenBreaker } from './store.ts';
import { Tally, verdictOf } from './tally.ts';
import { processClock, WritePace } from './write-pace.ts';
import type { Clock } from './write-pace.ts';

export interface BreakerOptions {
  readonly sql: Sql;
  /** Told with each change of state that this worker made. */
  readonly onChange?: ((kind: BreakerKind, state: BreakerState) => void) | undefined;
  readonly log?: Logger | undefined;
  readonly clock?: Clock | undefined;
}

/** What is in a call's way. */
export interface Obstacle extends Pick<OpenBreaker, 'lastError'> {
  readonly name: string;
  /** When a probe may be taken, by the clock. */
  readonly dueAtMs: number;
}

/** The lease of a probe through all breakers that were in its way. */
export interface Probe {
  readonly id: string;
  readonly names: ReadonlySet<string>;
}

const readEveryMs = 1_000;
/** Of a database that does not answer. */
const readWithinMs = 5_000;
/** A write that failed is repeated so long. */
const keepChangesMs = 30_000;
const maxTallies = 1_000;
const closeWithinMs = 2_000;

export class Breakers {
  readonly clock: Clock;
  readonly #options: BreakerOptions;
  readonly #by = `${hostname()}:${process.pid}`.slice(0, 200);
  readonly #pace: WritePace;
  #open = new Map<string, Obstacle>();
  #readAtMs = -Infinity;
  #reading: Promise<void> | undefined;
  readonly #tallies = new Map<string, Tally>();
  /** Calls that began before say nothing about the time after. */
  readonly #closedAtMs = new Map<string, number>();
  readonly #changes = new Map<string, BreakerChange & { readonly sinceMs: number }>();
  #flushing: Promise<void> | undefined;
  #isClosed = false;

  constructor(options: BreakerOptions) {
    this.#options = options;
    this.clock = options.clock ?? processClock;
    this.#pace = new WritePace(this.clock);
  }

  /** What is in the way of each route; empty lists where nothing is. */
  async obstacles(routes: readonly Route[]): Promise<Obstacle[][]> {
    if (this.clock.now() - this.#readAtMs >= readEveryMs) {
      this.#reading ??= this.#read().finally(() => (this.#reading = undefined));
    }
    if (this.#reading !== undefined) {
      await Promise.race([this.#reading, sleep(readWithinMs, undefined, { ref: false })]);
    }
    if (this.#open.size === 0) return routes.map(() => []);
    return routes.map((route) =>
      breakersOf(route).flatMap((id) => this.#open.get(nameOf(id)) ?? []),
    );
  }

  /** The lease of a probe, where the pause of all obstacles has ended and no other call of the fleet has it. */
  async takeProbe(obstacles: readonly Obstacle[], leaseMs: number): Promise<Probe | undefined> {
    const now = this.clock.now();
    const isDue = ({ name, dueAtMs }: Obstacle) =>
      Math.max(dueAtMs, this.#open.get(name)?.dueAtMs ?? 0) <= now;
    if (!obstacles.every(isDue)) return undefined;
    // Nobody else in this process tries meanwhile.
    const names = obstacles.map(({ name }) => name);
    for (const one of obstacles) this.#open.set(one.name, { ...one, dueAtMs: now + leaseMs });
    if (!(await this.#pace.turn(readEveryMs))) {
      for (const one of obstacles) this.#open.set(one.name, one);
      return undefined;
    }
    const id = randomUUID();
    const request = { names, probe: id, leaseMs, by: this.#by };
    const isTaken = await takeProbe(this.#options.sql, request).catch((error: unknown) => {
      this.#noteFault(error);
      return false;
    });
    if (isTaken) {
      for (const name of names) this.#note(name, 'open', 'probing');
      return { id, names: new Set(names) };
    }
    this.#readAtMs = -Infinity;
    return undefined;
  }

  /** How a call ended; `error` undefined: it was answered. */
  ended(route: Route, beganAtMs: number, error: unknown, probe?: Probe): void {
    for (const id of breakersOf(route)) {
      const verdict = verdictOf(id.kind, error);
      const ended = { id, verdict, error };
      if (probe?.names.has(nameOf(id)) === true) this.#endProbe(ended, probe);
      else if (verdict !== 'none') this.#count(ended, route.tenantId, beganAtMs);
    }
  }

  #endProbe({ id, verdict, error }: Ended, probe: Probe): void {
    this.#change({ ...id, probe: probe.id, result: verdict, ...failureIn(error) });
  }

  #count({ id, verdict, error }: Ended, tenantId: string, beganAtMs: number): void {
    const name = nameOf(id);
    // Of a call that was in flight when it opened: only its probe closes it.
    if (verdict === 'none' || this.#open.has(name)) return;
    const endedAtMs = this.clock.now();
    let tally = this.#tallies.get(name);
    if (tally === undefined) {
      // An answer alone opens nothing; of a credential it would be dropped at once.
      if (verdict === 'ok' && id.kind === 'credential') return;
      tally = new Tally(id, this.#closedAtMs.get(name) ?? -Infinity);
      this.#tallies.set(name, tally);
      if (this.#tallies.size > maxTallies) this.#dropIdle(endedAtMs);
    }
    const code = codeOf(error);
    const trip = tally.add({ verdict, tenantId, code, beganAtMs, endedAtMs });
    if (trip !== undefined) this.#change({ ...id, ...trip, ...failureIn(error) });
  }

  #dropIdle(nowMs: number): void {
    for (const [name, tally] of this.#tallies) {
      if (tally.isIdle(nowMs)) this.#tallies.delete(name);
    }
  }

  #change(change: BreakerChange): void {
    if (this.#isClosed) return;
    const { kind, key, probe } = change;
    this.#changes.set(`${kind}:${key}:${probe ?? ''}`, { ...change, sinceMs: this.clock.now() });
    this.#flushing ??= this.#flush().finally(() => (this.#flushing = undefined));
  }

  async #flush(): Promise<void> {
    while (this.#changes.size > 0 && !this.#isClosed) {
      await this.#pace.turn();
      const sent = [...this.#changes.values()];
      this.#changes.clear();
      try {
        for (const made of await changeBreakers(this.#options.sql, sent, this.#by)) {
          this.#note(nameOf(made), made.before, made.state, made.until);
        }
        await this.#read();
      } catch (error) {
        this.#noteFault(error);
        const youngMs = this.clock.now() - keepChangesMs;
        for (const change of sent) {
          const name = `${change.kind}:${change.key}:${change.probe ?? ''}`;
          if (change.sinceMs > youngMs && !this.#changes.has(name)) this.#changes.set(name, change);
        }
      }
    }
  }

  async #read(): Promise<void> {
    const startedAtMs = this.clock.now();
    // A database that is away is asked once a second as well.
    this.#readAtMs = startedAtMs;
    try {
      const found = await readOpen(this.#options.sql);
      const open = new Map(
        found.map(({ waitMs, lastError, ...id }) => {
          const name = nameOf(id);
          return [name, { name, lastError, dueAtMs: startedAtMs + waitMs }];
        }),
      );
      for (const name of open.keys()) this.#tallies.delete(name);
      for (const name of this.#open.keys()) {
        if (!open.has(name)) this.#closedAtMs.set(name, this.clock.now());
      }
      this.#open = open;
    } catch (error) {
      this.#noteFault(error);
    }
  }

  #note(name: string, before: BreakerState, state: BreakerState, until?: Date | null): void {
    const { onChange, log } = this.#options;
    onChange?.(name.startsWith('model:') ? 'model' : 'credential', state);
    log?.warn({ breaker: name, before, state, until }, 'llm_breaker_changed');
  }

  #noteFault(error: unknown): void {
    const fault = { code: codeOf(error), reason: messageOf(error) };
    this.#options.log?.warn(fault, 'llm_breakers_unavailable');
  }

  /** Writes what is left, unless that takes too long. */
  async close(): Promise<void> {
    await Promise.race([this.#flushing, sleep(closeWithinMs, undefined, { ref: false })]);
    this.#isClosed = true;
  }
}

interface Ended {
  readonly id: BreakerId;
  readonly verdict: ReturnType<typeof verdictOf>;
  readonly error: unknown;
}

/** Their wait is the provider's own Retry-After. */
const asksToWait = new Set(['llm_rate_limited', 'llm_overloaded']);

function failureIn(error: unknown): { readonly error?: string; readonly retryAfterMs?: number } {
  if (error === undefined) return {};
  const named = { error: codeOf(error) };
  const { retryAfterMs } =
    error instanceof LlmError && asksToWait.has(error.code) ? error.details : {};
  return typeof retryAfterMs === 'number' ? { ...named, retryAfterMs } : named;
}
