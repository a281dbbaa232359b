/**
 * Audits a database again and again while a scenario plays on it: what must hold at every moment, not only when all jobs
 * have ended. Each look is one statement, and so one snapshot.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from '../../../src/db/connect.ts';
import { isStoreUnavailable } from '../../../src/db/store-errors.ts';
import { messageOf } from '../../../src/errors.ts';
import { maxFaults, misplaced, staleLeases } from '../auditor.ts';

export interface Sightings {
  /** That the database answered. */
  readonly looks: number;
  /** Looks that an outage of the database prevented. */
  readonly missed: number;
  readonly lastedMs: number;
  /** Each once; empty when there are none. At most 20. */
  readonly faults: readonly string[];
}

export interface ContinuousAudit {
  seen(): Sightings;
  /** Closes its connection. */
  stop(): Promise<Sightings>;
}

export interface ContinuousOptions {
  /** How long after the end of its lease an attempt may still stand under its worker. Default 60 s. */
  readonly staleLeaseMs?: number;
  readonly everyMs?: number;
}

/** On a connection of its own: a scenario may use all that the stage has. */
export function keepAuditing(url: string, options: ContinuousOptions = {}): ContinuousAudit {
  const { staleLeaseMs = 60_000, everyMs = 1_000 } = options;
  const sql = connect(url, { max: 1, applicationName: 'purser continuous audit' });
  const startedAt = performance.now();
  const stopping = new AbortController();
  const faults = new Set<string>();
  let looks = 0;
  let missed = 0;
  let answeredSince: Date | undefined;

  const add = (fault: string): void => {
    if (faults.size < maxFaults) faults.add(fault);
  };
  const look = async (): Promise<void> => {
    const since = answeredSince ?? new Date();
    try {
      for (const { fault } of await misplaced(sql)) add(fault);
      for (const { fault } of await staleLeases(sql, staleLeaseMs, since)) add(fault);
      looks += 1;
      answeredSince = since;
    } catch (error) {
      // The end of the connection may meet a look.
      if (stopping.signal.aborted) return;
      missed += 1;
      answeredSince = undefined;
      if (!isStoreUnavailable(error)) add(`a look failed: ${messageOf(error)}`);
    }
  };
  const looking = (async () => {
    while (!stopping.signal.aborted) {
      await look();
      await sleep(everyMs, undefined, { signal: stopping.signal }).catch(() => {
        // It is told to stop.
      });
    }
  })();
  const seen = (): Sightings => ({
    looks,
    missed,
    lastedMs: performance.now() - startedAt,
    faults: [...faults],
  });
  return {
    seen,
    stop: async () => {
      stopping.abort();
      await sql.end({ timeout: 1 });
      await looking;
      return seen();
    },
  };
}
