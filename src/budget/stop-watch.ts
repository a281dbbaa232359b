/**
 * The running calls of this process, and the stops that end them: while there are any, the stops that abort are read
 * twice a second.
 */
import type { Sql } from '../db/connect.ts';
import { listAborts } from './stops.ts';
import type { StopTarget } from './stops.ts';

/** What a stop may name of a call. */
export interface WatchedCall {
  readonly tenantId: string;
  readonly provider: string;
  readonly model: string;
}

export interface Watching {
  /** Aborts when a stop ends the call. */
  readonly signal: AbortSignal;
  /** The call has ended. */
  end(): void;
}

export class StopWatch {
  readonly #sql: Sql;
  readonly #everyMs: number;
  readonly #calls = new Map<AbortController, WatchedCall>();
  #timer: NodeJS.Timeout | undefined;
  #isReading = false;

  constructor(sql: Sql, everyMs = 500) {
    this.#sql = sql;
    this.#everyMs = everyMs;
  }

  watch(call: WatchedCall): Watching {
    const controller = new AbortController();
    this.#calls.set(controller, call);
    this.#timer ??= setInterval(() => void this.#read(), this.#everyMs).unref();
    return {
      signal: controller.signal,
      end: () => {
        this.#calls.delete(controller);
        if (this.#calls.size > 0) return;
        clearInterval(this.#timer);
        this.#timer = undefined;
      },
    };
  }

  /** A database that is away is asked again: its outage ends no call. */
  async #read(): Promise<void> {
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      for (const stop of await listAborts(this.#sql)) this.#abort(stop);
    } catch {
      // Read again with the next turn.
    } finally {
      this.#isReading = false;
    }
  }

  #abort({ tenantId, provider, model }: StopTarget): void {
    for (const [controller, call] of this.#calls) {
      const isNamed =
        (tenantId === undefined || tenantId === call.tenantId) &&
        (provider === undefined || provider === call.provider) &&
        (model === undefined || model === call.model);
      if (isNamed) controller.abort();
    }
  }
}
