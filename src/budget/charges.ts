/**
 * The reserves, marks as sent and settlements of one process, gathered by tenant: those that meet while an earlier one is running go
 * together in one transaction, which locks the tenant's month once. Each is answered as if it had gone alone.
 */
import type { Queryable, Sql } from '../db/connect.ts';
import { Gatherer } from '../db/gather/gatherer.ts';
import { lockTimeout } from '../db/row-faults.ts';
import { isServerAway, mapStoreErrors } from '../db/store-errors.ts';
import { mayBeLost } from '../jobs/commit-policy.ts';
import { costOfItems } from './bill.ts';
import { formatUsd, parseUsd } from './money.ts';
import { checkAndReserve, markSent, platformKey, rungsOf } from './reserve.ts';
import type { Reservation, ReserveRequest } from './reserve.ts';
import { recordUsage } from './settle.ts';
import type { SettleRequest, Settlement } from './settle.ts';

export interface Charges {
  /** As `checkAndReserve`. */
  readonly reserve: (request: ReserveRequest) => Promise<Reservation>;
  /** As `markSent`, for a reservation of this tenant. */
  readonly markSent: (tenantId: string, reservationId: string) => Promise<boolean>;
  /** As `recordUsage`, for a reservation of this tenant. */
  readonly settle: (tenantId: string, request: SettleRequest) => Promise<Settlement>;
}

const limits = { maxItems: 32, longestWaitMs: 20 };
/** After so many tenants those that have nothing under way are forgotten. */
const maxKept = 1_000;

/** `sql` is the system's pool. */
export function gatherCharges(sql: Sql): Charges {
  const reserves = byTenant<ReserveRequest, Reservation>({
    action: 'reserve money',
    alone: (request) => checkAndReserve(sql, request),
    together: (_, requests) => reserveTogether(sql, requests),
  });
  const marks = byTenant<string, boolean>({
    action: 'mark a request as sent',
    alone: (reservationId) => markSent(sql, { reservationId }),
    together: (_, reservationIds) => markTogether(sql, reservationIds),
  });
  const settlements = byTenant<SettleRequest, Settlement>({
    action: 'record usage',
    alone: (request) => recordUsage(sql, request),
    together: (tenantId, requests) => settleTogether(sql, tenantId, requests),
  });
  return {
    reserve: (request) =>
      isCommon(request) ? reserves(request.tenantId, request) : checkAndReserve(sql, request),
    markSent: marks,
    settle: settlements,
  };
}

interface Ways<Request, Answer> {
  /** Completes `cannot ...`. */
  readonly action: string;
  readonly alone: (request: Request) => Promise<Answer>;
  /** An answer to each request, in order; undefined where it has changed nothing and has to go alone. */
  readonly together: (
    tenantId: string,
    requests: readonly Request[],
  ) => Promise<readonly (Answer | undefined)[]>;
}

interface Waiting<Request, Answer> {
  readonly request: Request;
  readonly resolve: (answer: Answer | Promise<Answer>) => void;
}

function byTenant<Request, Answer>(ways: Ways<Request, Answer>) {
  const gatherers = new Map<string, Gatherer<Waiting<Request, Answer>>>();
  const gathererOf = (tenantId: string) => {
    const known = gatherers.get(tenantId);
    if (known !== undefined) return known;
    if (gatherers.size >= maxKept) {
      for (const [tenant, { isIdle }] of gatherers) if (isIdle) gatherers.delete(tenant);
    }
    const made = new Gatherer<Waiting<Request, Answer>>(
      (waiting) => send(ways, tenantId, waiting),
      limits,
    );
    gatherers.set(tenantId, made);
    return made;
  };
  return (tenantId: string, request: Request): Promise<Answer> =>
    new Promise((resolve) => {
      gathererOf(tenantId).add({ request, resolve });
    });
}

async function send<Request, Answer>(
  ways: Ways<Request, Answer>,
  tenantId: string,
  waiting: readonly Waiting<Request, Answer>[],
): Promise<void> {
  const goAlone = async (these: readonly Waiting<Request, Answer>[]): Promise<void> => {
    const answers = these.map(({ request }) => ways.alone(request));
    for (const [index, { resolve }] of these.entries()) {
      const answer = answers[index];
      if (answer !== undefined) resolve(answer);
    }
    await Promise.allSettled(answers);
  };
  if (waiting.length === 1) return goAlone(waiting);
  let answers: readonly (Answer | undefined)[];
  try {
    answers = await ways.together(
      tenantId,
      waiting.map(({ request }) => request),
    );
  } catch (error) {
    // One of them may have made the statement fail; a repeat changes nothing.
    if (!isServerAway(error)) return goAlone(waiting);
    const failed = mapStoreErrors(ways.action, () => Promise.reject(error));
    for (const { resolve } of waiting) resolve(failed);
    return undefined;
  }
  for (const [index, { resolve }] of waiting.entries()) {
    const answer = answers[index];
    if (answer !== undefined) resolve(answer);
  }
  return goAlone(waiting.filter((_, index) => answers[index] === undefined));
}

/** The answers by their places, which begin at 1. */
function inOrder<Row extends { readonly place: number }, Answer>(
  count: number,
  rows: readonly Row[],
  answerOf: (row: Row) => Answer,
): readonly (Answer | undefined)[] {
  const byPlace = new Map(rows.map((row) => [row.place, row]));
  return Array.from({ length: count }, (_, index) => {
    const row = byPlace.get(index + 1);
    return row === undefined ? undefined : answerOf(row);
  });
}

/** What `purser.budget_reserve_many` takes: one form of a request, paid by the platform. */
const isCommon = ({ fallbacks, smaller, providerKey }: ReserveRequest): boolean =>
  (fallbacks ?? []).length === 0 &&
  smaller === undefined &&
  providerKey?.startsWith('own:') !== true;

interface HeldRow {
  place: number;
  reservation_id: string;
  expires_at: Date;
  hold_usd: string;
  max_output_tokens: string | null;
  over_limit: boolean;
}

/** Of one tenant. Answered before their commit is on disk, as one is. */
async function reserveTogether(sql: Queryable, requests: readonly ReserveRequest[]) {
  const calls = requests.map((request) => ({
    job_id: request.jobId,
    attempt: request.attempt,
    token: request.token,
    key: request.idempotencyKey,
    ttl_ms: request.ttlMs,
    provider_key: request.providerKey ?? platformKey,
    end_user: request.endUser,
    rung: rungsOf(request)[0],
    now: request.now,
  }));
  const rows = await sql<HeldRow[]>`
    with ${lockTimeout(sql)}, ${mayBeLost(sql)}
    select r.* from lock_timeout t, commit_policy c, purser.budget_reserve_many(
      case when t.set_config is not null and c.set_config is not null then ${requests[0]?.tenantId ?? ''} end,
      ${JSON.stringify(calls)}::text::jsonb) r`;
  return inOrder(requests.length, rows, (row): Reservation => ({
    reservationId: row.reservation_id,
    status: 'RESERVED',
    replayed: false,
    sentAt: null,
    expiresAt: row.expires_at,
    rung: 0,
    holdNanoUsd: parseUsd(row.hold_usd),
    maxOutputTokens: row.max_output_tokens === null ? undefined : Number(row.max_output_tokens),
    overLimit: row.over_limit,
  }));
}

/** Answered when they are on disk. */
async function markTogether(sql: Queryable, reservationIds: readonly string[]) {
  const rows = await sql<{ id: string }[]>`
    select id from purser.budget_mark_sent_many(${[...reservationIds]}::uuid[]) id`;
  const marked = new Set(rows.map(({ id }) => id));
  return reservationIds.map((id) => (marked.delete(id) ? true : undefined));
}

/** Of one tenant. Answered when they are on disk. */
async function settleTogether(sql: Sql, tenantId: string, requests: readonly SettleRequest[]) {
  const bills = requests.map((request) => ({
    reservation_id: request.reservationId,
    cost_usd: formatUsd(costOfItems(request.items)),
    items: request.items,
    served_model: request.servedModel,
    service_tier: request.serviceTier,
    uncovered: request.uncovered ?? [],
    request_id: request.requestId,
    now: request.now,
  }));
  const [row] = await sql<{ answers: { place: number; hold_usd: string }[] | null }[]>`
    call purser.budget_settle_many_durably(${tenantId}, ${JSON.stringify(bills)}::text::jsonb, null::jsonb)`;
  return inOrder(requests.length, row?.answers ?? [], ({ hold_usd: holdUsd }): Settlement => ({
    applied: true,
    holdNanoUsd: parseUsd(holdUsd),
    overageNanoUsd: 0n,
  }));
}
