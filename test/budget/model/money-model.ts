/**
 * The rules of money in memory: scopes with limits, their periods, and reservations that hold, spend or are unknown.
 * Knows nothing of the database, so that the two can only agree by being right.
 *
 * A reservation pins one account (scope and period) per scope that applies to it. All are moved together, and a
 * reservation is admitted by all of them or by none.
 */

export interface Limit {
  readonly amount: bigint;
  /** A soft limit admits what exceeds it. */
  readonly hard: boolean;
}

/** What a limit counts: nano-USD, or calls. */
type Unit = 'usd' | 'calls';

/** One account: a scope in one period. */
export interface Pin {
  /** E.g. `tenant-1`. */
  readonly scope: string;
  /** E.g. `2026-07-01`. */
  readonly period: string;
  readonly unit: Unit;
}

export interface Counters {
  readonly reserved: bigint;
  readonly spent: bigint;
  readonly unknown: bigint;
}

export type Status = 'RESERVED' | 'APPLIED' | 'RELEASED' | 'UNKNOWN';

export interface ModelReservation {
  readonly key: string;
  /** What a replay of the key must have in common with the first one. */
  readonly payload: string;
  readonly hold: bigint;
  pins: readonly Pin[];
  readonly expiresAt: number;
  status: Status;
  /** Of a settled one. */
  cost: bigint;
  sent: boolean;
  /** What a replay of the settlement must have in common with the first one. */
  bill: string | null;
}

export type OpenRequest = Pick<ModelReservation, 'key' | 'payload' | 'hold' | 'pins' | 'expiresAt'>;

type Reserved =
  | { readonly outcome: 'reserved' | 'replayed' | 'conflict' }
  /** The first account that does not admit it. */
  | { readonly outcome: 'refused'; readonly by: Pin };

const nothing: Counters = { reserved: 0n, spent: 0n, unknown: 0n };
const noLimit: Limit = { amount: 0n, hard: true };

export type MoneyModel = ReturnType<typeof createMoneyModel>;

export function createMoneyModel() {
  const limits = new Map<string, Limit>();
  const accounts = new Map<string, Counters>();
  const reservations = new Map<string, ModelReservation>();

  const countersOf = ({ scope, period }: Omit<Pin, 'unit'>): Counters =>
    accounts.get(`${scope} ${period}`) ?? nothing;

  function move(reservation: ModelReservation, change: (pin: Pin) => Counters): void {
    for (const pin of reservation.pins) {
      const before = countersOf(pin);
      const delta = change(pin);
      accounts.set(`${pin.scope} ${pin.period}`, {
        reserved: before.reserved + delta.reserved,
        spent: before.spent + delta.spent,
        unknown: before.unknown + delta.unknown,
      });
    }
  }

  const limitOf = ({ scope }: Pin): Limit => limits.get(scope) ?? noLimit;

  /** What its limit leaves; negative after an overage, beyond a soft limit, or after the limit was lowered. */
  function available(pin: Pin): bigint {
    const { reserved, spent, unknown } = countersOf(pin);
    return limitOf(pin).amount - reserved - spent - unknown;
  }

  /** The accounts whose limits, soft ones too, do not admit the hold. A limit of zero admits nothing. */
  const exceeded = (pins: readonly Pin[], hold: bigint): readonly Pin[] =>
    pins.filter((pin) => limitOf(pin).amount === 0n || amountOf(pin, hold) > available(pin));

  /** The accounts with a hard limit that do not admit the hold. */
  const refusing = (pins: readonly Pin[], hold: bigint): readonly Pin[] =>
    exceeded(pins, hold).filter((pin) => limitOf(pin).hard);

  /** Takes the hold, whatever the limits are. */
  function open(request: OpenRequest): void {
    const reservation = {
      ...request,
      status: 'RESERVED' as const,
      cost: 0n,
      sent: false,
      bill: null,
    };
    reservations.set(request.key, reservation);
    move(reservation, (pin) => ({ ...nothing, reserved: amountOf(pin, request.hold) }));
  }

  function reserve(request: OpenRequest): Reserved {
    const known = reservations.get(request.key);
    if (known !== undefined) {
      return { outcome: known.payload === request.payload ? 'replayed' : 'conflict' };
    }
    const [refused] = refusing(request.pins, request.hold);
    if (refused !== undefined) return { outcome: 'refused', by: refused };
    open(request);
    if (request.pins.some((pin) => limitOf(pin).hard && available(pin) < 0n)) {
      throw new Error('the model has admitted more than a hard limit');
    }
    return { outcome: 'reserved' };
  }

  /** Counts a reservation in further accounts, as it is now. */
  function attach(key: string, pins: readonly Pin[]): void {
    const reservation = reservations.get(key);
    if (reservation === undefined) return;
    const { status, hold, cost } = reservation;
    move({ ...reservation, pins }, (pin) => ({
      reserved: status === 'RESERVED' ? amountOf(pin, hold) : 0n,
      spent: status === 'APPLIED' ? amountOf(pin, cost) : 0n,
      unknown: status === 'UNKNOWN' ? amountOf(pin, hold) : 0n,
    }));
    reservation.pins = [...reservation.pins, ...pins];
  }

  function markSent(key: string, now: number): boolean {
    const reservation = reservations.get(key);
    if (reservation?.status !== 'RESERVED' || reservation.sent) return false;
    if (reservation.expiresAt <= now) return false;
    reservation.sent = true;
    return true;
  }

  /** Charges `cost` in place of the hold, into the periods of the reservation. */
  function settle(
    key: string,
    { cost, bill }: { readonly cost: bigint; readonly bill: string },
  ): 'settled' | 'replayed' | 'conflict' | 'unknown_reservation' {
    const reservation = reservations.get(key);
    if (reservation === undefined) return 'unknown_reservation';
    const { status, hold } = reservation;
    if (status === 'APPLIED') return reservation.bill === bill ? 'replayed' : 'conflict';
    move(reservation, (pin) => ({
      reserved: status === 'RESERVED' ? -amountOf(pin, hold) : 0n,
      spent: amountOf(pin, cost),
      unknown: status === 'UNKNOWN' ? -amountOf(pin, hold) : 0n,
    }));
    reservation.status = 'APPLIED';
    reservation.cost = cost;
    reservation.bill = bill;
    return 'settled';
  }

  /** Ends a hold without a bill. False when it had ended. */
  function close(key: string, to: 'RELEASED' | 'UNKNOWN'): boolean {
    const reservation = reservations.get(key);
    if (reservation?.status !== 'RESERVED') return false;
    move(reservation, (pin) => {
      const hold = amountOf(pin, reservation.hold);
      return { reserved: -hold, spent: 0n, unknown: to === 'UNKNOWN' ? hold : 0n };
    });
    reservation.status = to;
    return true;
  }

  /** Ends the `limit` holds that expired first: what was never sent is released, what was sent is unknown. */
  function expire(now: number, limit: number): { released: number; unknown: number } {
    const due = [...reservations.values()]
      .filter(({ status, expiresAt }) => status === 'RESERVED' && expiresAt <= now)
      .toSorted((one, other) => one.expiresAt - other.expiresAt)
      .slice(0, limit);
    for (const { key, sent } of due) close(key, sent ? 'UNKNOWN' : 'RELEASED');
    const unknown = due.filter(({ sent }) => sent).length;
    return { released: due.length - unknown, unknown };
  }

  const lastExpiry = (): number =>
    Math.max(0, ...[...reservations.values()].map(({ expiresAt }) => expiresAt));

  return {
    reservations: reservations as ReadonlyMap<string, ModelReservation>,
    limits: limits as ReadonlyMap<string, Limit>,
    countersOf,
    setLimit: (scope: string, limit: Limit) => void limits.set(scope, limit),
    available,
    exceeded,
    refusing,
    open,
    attach,
    reserve,
    markSent,
    settle,
    close,
    expire,
    lastExpiry,
  };
}

/** What `usd` adds to an account: itself, or one call. */
function amountOf({ unit }: Pin, usd: bigint): bigint {
  return unit === 'usd' ? usd : 1n;
}
