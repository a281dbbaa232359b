/** One client of the storm: calls, their replays, late reports, sweeps and changed limits, one after another. */
import { randomUUID } from 'node:crypto';
import { setBudget } from '../../../src/budget/budgets.ts';
import { releaseExpiredReservations } from '../../../src/budget/expire.ts';
import { formatUsd } from '../../../src/budget/money.ts';
import { checkAndReserve, markSent } from '../../../src/budget/reserve.ts';
import type { Reservation } from '../../../src/budget/reserve.ts';
import { markUnknown, recordUsage, releaseReservation } from '../../../src/budget/settle.ts';
import { codeOf, PurserError } from '../../../src/errors.ts';
import { nowOf, tenantOf } from './client.ts';
import type { Client } from './client.ts';
import { changeScope } from './scopes.ts';
import { price } from './order.ts';
import type { StormTenant } from './order.ts';

interface Ended {
  readonly tenant: StormTenant;
  readonly reservation: Reservation;
  readonly idempotencyKey: string;
  /** Of its settlement; undefined while its answer is missing. */
  readonly cost: bigint | undefined;
}

const remembered = 40;

export async function runLane(client: Client, stopped: () => boolean): Promise<void> {
  const ended: Ended[] = [];
  while (!stopped()) {
    const luck = client.random();
    try {
      if (luck < 0.76) await keep(ended, call(client, tenantOf(client)));
      else if (luck < 0.86) await burst(client, ended);
      else if (luck < 0.92) await replay(client, ended);
      else if (luck < 0.95) await sweep(client);
      else await changeLimit(client, ended);
    } catch (error) {
      if (codeOf(error) === '55P03') client.count('lock timeouts');
      else client.fault(`${codeOf(error)}: ${error instanceof Error ? error.message : ''}`);
    }
  }
}

async function keep(ended: Ended[], running: Promise<Ended | undefined>): Promise<void> {
  const end = await running;
  if (end === undefined) return;
  ended.push(end);
  if (ended.length > remembered) ended.shift();
}

/** More at once than the limit admits. */
async function burst(client: Client, ended: Ended[]): Promise<void> {
  const tenant = tenantOf(client);
  await Promise.all(Array.from({ length: 5 }, () => keep(ended, call(client, tenant, 3))));
}

/** A share of the limit. Limits that stay are used up once a month, by more calls. */
const largestHold = ({ changing }: StormTenant): number => (changing ? 0.1 : 0.02);

async function call(client: Client, tenant: StormTenant, factor = 1): Promise<Ended | undefined> {
  const { sql, random, count, pass, fault } = client;
  const share = BigInt(Math.ceil(random() * factor * largestHold(tenant) * 1_000_000));
  const holdNanoUsd = (BigInt(tenant.limitNanoUsd) * share) / 1_000_000n;
  const idempotencyKey = randomUUID();
  const request = {
    ...tenant.attempt,
    idempotencyKey,
    holdNanoUsd,
    ttlMs: client.order.spanMs * (0.002 + random() * 0.03),
    provider: 'test',
    model: 'storm',
    price,
    now: nowOf(client),
  };
  const twins = random() < 0.1 ? 2 : 1;
  const answers = await Promise.all(
    Array.from({ length: twins }, () => reserveOnce(client, request)),
  );
  const admitted = answers.filter((one) => one !== undefined);
  const [held] = admitted;
  if (held === undefined) return undefined;
  if (admitted.some((one) => one.reservationId !== held.reservationId)) {
    fault('one key has two reservations');
  }
  const { reservationId } = held;
  await pass('reserved', reservationId);
  if (random() < 0.1) {
    if (await releaseReservation(sql, { reservationId, now: nowOf(client) })) count('released');
    return { tenant, reservation: held, idempotencyKey, cost: undefined };
  }
  if (!(await markSent(sql, { reservationId, now: nowOf(client) }))) return undefined;
  count('sent');
  await pass('sent', reservationId);
  const answer = await send(client, `call/${reservationId}/${holdNanoUsd}`);
  await pass('called', reservationId);
  if (answer === 'refused') {
    if (await releaseReservation(sql, { reservationId, now: nowOf(client) })) count('released');
  } else if (answer === 'lost') {
    if (await markUnknown(sql, { reservationId, now: nowOf(client) })) count('marked unknown');
  } else {
    await settle(client, tenant.attempt.tenantId, reservationId, answer);
    return { tenant, reservation: held, idempotencyKey, cost: answer };
  }
  return { tenant, reservation: held, idempotencyKey, cost: undefined };
}

/** Half of the calls go together with those that meet them. */
async function reserveOnce(
  { sql, charges, count, random }: Client,
  request: Parameters<typeof checkAndReserve>[1],
): Promise<Reservation | undefined> {
  try {
    const reservation = await (random() < 0.5
      ? charges.reserve(request)
      : checkAndReserve(sql, request));
    count(reservation.replayed ? 'replayed reserves' : 'reserved');
    return reservation;
  } catch (error) {
    if (codeOf(error) !== 'budget_exceeded') throw error;
    count('refused');
    return undefined;
  }
}

async function send({ order }: Client, path: string): Promise<bigint | 'refused' | 'lost'> {
  try {
    const response = await fetch(`${order.providerUrl}/${path}`, { method: 'POST' });
    const text = await response.text();
    return response.ok ? BigInt(text) : 'refused';
  } catch {
    return 'lost';
  }
}

const itemsOf = (cost: bigint) =>
  [{ class: 'request', count: 1, usd: formatUsd(cost), per: 1 }] as const;

/** Sometimes reported several times at once: one of them is charged. */
async function settle(
  client: Client,
  tenantId: string,
  reservationId: string,
  cost: bigint,
): Promise<void> {
  const { sql, charges, random, count, pass, fault } = client;
  const request = { reservationId, items: itemsOf(cost), now: nowOf(client) };
  const times = random() < 0.1 ? 3 : 1;
  const report = () =>
    random() < 0.5 ? charges.settle(tenantId, request) : recordUsage(sql, request);
  const settling = Promise.all(Array.from({ length: times }, report));
  settling.catch(() => {});
  // As when its caller gives up just before the answer: the settlement replaces it, or it comes too late.
  const givingUp =
    random() < 0.1 ? markUnknown(sql, { reservationId, now: nowOf(client) }) : undefined;
  givingUp?.catch(() => {});
  await pass('settling', reservationId);
  if ((await givingUp) === true) count('marked unknown');
  const applied = (await settling).filter((one) => one.applied).length;
  if (applied !== 1) fault(`a settlement was applied ${applied} times`);
  count('settled');
  for (let n = 1; n < times; n += 1) count('replayed settlements');
}

/** What ended is reserved and settled again, or its report arrives late. */
async function replay(client: Client, ended: Ended[]): Promise<void> {
  const { sql, random, count, fault } = client;
  const [end] = ended.splice(Math.floor(random() * ended.length), 1);
  if (end === undefined) return;
  const { reservation, cost } = end;
  const { reservationId } = reservation;
  if (cost === undefined) {
    const late = await send(client, `report/${reservationId}`);
    if (typeof late !== 'bigint') return;
    const { applied } = await recordUsage(sql, { reservationId, items: itemsOf(late) });
    count(applied ? 'settled late' : 'replayed settlements');
    return;
  }
  const again = await checkAndReserve(sql, {
    ...end.tenant.attempt,
    idempotencyKey: end.idempotencyKey,
    holdNanoUsd: reservation.holdNanoUsd,
    ttlMs: 1000,
    provider: 'test',
    model: 'storm',
    price,
    now: nowOf(client),
  });
  count('replayed reserves');
  if (!again.replayed || again.reservationId !== reservationId) fault('a key was reserved again');
  const settled = await recordUsage(sql, { reservationId, items: itemsOf(cost) });
  count('replayed settlements');
  if (settled.applied) fault('a settlement was applied again');
  const other = await recordUsage(sql, { reservationId, items: itemsOf(cost + 1n) }).catch(codeOf);
  count('replayed settlements');
  if (other !== 'idempotency_conflict') fault('another bill was not refused');
  if (await releaseReservation(sql, { reservationId })) fault('a settled hold was released');
}

async function sweep(client: Client): Promise<void> {
  await releaseExpiredReservations({ sql: client.sql, now: nowOf(client), limit: 20 });
  client.count('sweeps');
}

/** To more than what is used, or, while calls of the tenant are running, to about that: the limit is always near. */
async function changeLimit(client: Client, ended: Ended[]): Promise<void> {
  const { sql, random, count, order } = client;
  const tenant = tenantOf(client);
  if (!tenant.changing) return;
  const { tenantId } = tenant.attempt;
  if (tenant.scopes.length > 0 && random() < 0.6) {
    const change = { sql, tenant, random, now: nowOf(client), startsAt: order.startsAt };
    const changed = await changeScope(change, () =>
      Promise.all([1, 2, 3].map(() => keep(ended, call(client, tenant)))),
    );
    if (changed) count('scopes set');
    return;
  }
  const month = nowOf(client).toISOString().slice(0, 7);
  const [row] = await sql<{ used: string }[]>`
    select ((reserved_usd + spent_usd + unknown_usd) * 1000000000)::bigint as used
    from llm_budget_periods where tenant_id = ${tenantId} and period_start = ${`${month}-01`}`;
  if (row === undefined) throw new PurserError('no_period', `${tenantId} has no period ${month}`);
  const lowered = random() < 0.5;
  const percent = BigInt(Math.floor(random() * (lowered ? 30 : 200)) - 15);
  const wanted = BigInt(row.used) + (BigInt(tenant.limitNanoUsd) * percent) / 100n;
  const set = setBudget(sql, {
    tenantId,
    monthlyLimitUsd: formatUsd(wanted < 0n ? 0n : wanted),
    hard: random() < 0.95,
  });
  const calls = lowered ? 3 : 0;
  await Promise.all([
    set,
    ...Array.from({ length: calls }, () => keep(ended, call(client, tenant))),
  ]);
  count('limits set');
}
