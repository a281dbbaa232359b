/** The jobs of the fairness benchmark: each pauses for 20 ms and reports when it began and ended (CLOCK_MONOTONIC). */
import { setTimeout as sleep } from 'node:timers/promises';
import type { FleetDatabase, Setting } from '../jobs/fleet.ts';
import { quantile, rounded } from '../jobs/report.ts';

export const type = 'bench_turn';
export const jobMs = 20;

export const nowNs = (): bigint => process.hrtime.bigint();
export const msBetween = (fromNs: bigint, toNs: bigint): number => Number(toNs - fromNs) / 1e6;

/** One job of a tenant, `atMs` after the begin of its phase. */
export interface Arrival {
  readonly tenantId: string;
  readonly atMs: number;
}

/** Numbers from 0 to 1 that are the same in every run (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** `each` jobs of every tenant at random times within `withinMs`, in the order of time. */
export function arrivalsOf(
  tenantIds: readonly string[],
  each: number,
  withinMs: number,
  seed: number,
): Arrival[] {
  const random = seeded(seed);
  return tenantIds
    .flatMap((tenantId) =>
      Array.from({ length: each }, () => ({ tenantId, atMs: random() * withinMs })),
    )
    .toSorted((a, b) => a.atMs - b.atMs);
}

/** Calls `send` at the time of each arrival, without waiting for the answer to the one before. */
export async function atTheirTimes<T>(
  arrivals: readonly Arrival[],
  send: (arrival: Arrival, number: number) => Promise<T>,
): Promise<T[]> {
  const startedMs = performance.now();
  const sent: Promise<T>[] = [];
  for (const [number, arrival] of arrivals.entries()) {
    await sleep(Math.max(0, arrival.atMs - (performance.now() - startedMs)));
    sent.push(send(arrival, number));
  }
  return Promise.all(sent);
}

export async function addFlood(
  { build }: Setting,
  { sql }: FleetDatabase,
  tenantId: string,
  count: number,
): Promise<void> {
  for (let done = 0; done < count; done += 500) {
    await build.enqueueMany(
      sql,
      Array.from({ length: Math.min(500, count - done) }, () => ({ tenantId, jobType: type })),
    );
  }
}

interface Ran {
  readonly id: string;
  readonly tenantId: string;
  readonly atNs: bigint;
  readonly endNs: bigint;
}

/** The jobs that have completed, in the order of their starts. */
export async function completed({ sql }: FleetDatabase): Promise<Ran[]> {
  const rows = await sql<{ id: string; tenant_id: string; at: string; end: string }[]>`
    select id, tenant_id, result->>'atNs' as at, result->>'endNs' as end
    from jobs where job_type = ${type} and outcome = 'completed' order by (result->>'atNs')::bigint`;
  return rows.map((row) => ({
    id: row.id,
    tenantId: row.tenant_id,
    atNs: BigInt(row.at),
    endNs: BigInt(row.end),
  }));
}

/** Milliseconds from the answer to each enqueue to the start of its handler, once all have run. */
export async function measureWaits(
  { build }: Setting,
  database: FleetDatabase,
  arrivals: readonly Arrival[],
): Promise<number[]> {
  const answeredNs = new Map<string, bigint>();
  await atTheirTimes(arrivals, async ({ tenantId }) => {
    const { jobId } = await build.enqueue(database.sql, { tenantId, jobType: type });
    answeredNs.set(jobId, nowNs());
  });
  const ids = [...answeredNs.keys()];
  for (;;) {
    const rows = await database.sql<{ id: string; at: string | null }[]>`
      select id, result->>'atNs' as at from jobs where id = any(${ids}::bigint[]) and outcome = 'completed'`;
    if (rows.length === ids.length) {
      return rows.map(({ id, at }) =>
        Math.max(0, msBetween(answeredNs.get(id) ?? 0n, BigInt(at ?? 0))),
      );
    }
    await sleep(100);
  }
}

/** Share of the slots' time, between two moments, in which a handler ran. */
export function busyShare(
  ran: readonly Ran[],
  slots: number,
  fromNs: bigint,
  toNs: bigint,
): number {
  let busyMs = 0;
  for (const { atNs, endNs } of ran) {
    const begin = atNs > fromNs ? atNs : fromNs;
    const end = endNs < toNs ? endNs : toNs;
    if (end > begin) busyMs += msBetween(begin, end);
  }
  return busyMs / (slots * msBetween(fromNs, toNs));
}

export function waits(samples: readonly number[]) {
  const at = (share: number): number => rounded(quantile(samples, share), 1);
  return { jobs: samples.length, p50: at(0.5), p95: at(0.95), max: at(1) };
}

/** The limit of a p95 beside a flood: twice that without it, and one job's duration, 50 ms at least. */
export function verdict(what: string, withFlood: number, without: number): string {
  const limit = rounded(2 * without + Math.max(jobMs, 50), 1);
  return `${what}: p95 with flood ${withFlood} ms, without ${without} ms, limit = 2 x without + 50 ms = ${limit} ms, met: ${
    withFlood <= limit ? 'yes' : 'no'
  }`;
}
