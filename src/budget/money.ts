/**
 * Exact LLM money: nano-USD (10^-9 USD) as `bigint` in code, decimal strings at the edges. No floating point,
 * and a cost is rounded up exactly once.
 */
import { UsageError } from '../errors.ts';

const nanoDigits = 9;
const nanosPerUsd = 10n ** 9n;

/** An exact decimal number: `units / 10^scale`. */
interface Decimal {
  readonly units: bigint;
  readonly scale: number;
}

const decimalPattern = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d{1,3}))?$/;

function parseDecimal(text: string): Decimal {
  const match = decimalPattern.exec(text);
  if (match === null) {
    throw new UsageError(`"${text.slice(0, 40)}" is not a decimal number; write it like 25.00`);
  }
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = match;
  const units = BigInt(`${sign}${whole}${fraction}`);
  const scale = fraction.length - Number(exponent);
  return scale >= 0 ? { units, scale } : { units: units * 10n ** BigInt(-scale), scale: 0 };
}

/**
 * A decimal USD amount such as `25.00` or `0.0004` in nano-USD.
 * Refuses a tenth decimal that is not zero, rather than rounding a limit.
 */
export function parseUsd(text: string): bigint {
  const { units, scale } = parseDecimal(text);
  if (scale <= nanoDigits) return units * 10n ** BigInt(nanoDigits - scale);
  const divisor = 10n ** BigInt(scale - nanoDigits);
  if (units % divisor !== 0n) {
    throw new UsageError(`${text.slice(0, 40)} has more than ${nanoDigits} decimals of a USD`);
  }
  return units / divisor;
}

/** Nano-USD as the shortest exact decimal: `400000n` is `0.0004`, `0n` is `0`. */
export function formatUsd(nanoUsd: bigint): string {
  const sign = nanoUsd < 0n ? '-' : '';
  const magnitude = nanoUsd < 0n ? -nanoUsd : nanoUsd;
  const fraction = (magnitude % nanosPerUsd).toString().padStart(nanoDigits, '0');
  const trimmed = fraction.replace(/0+$/, '');
  const whole = `${sign}${magnitude / nanosPerUsd}`;
  return trimmed === '' ? whole : `${whole}.${trimmed}`;
}

/**
 * The decimal string that a price was written as. `String` of a double gives the shortest decimal
 * that reads back as that double, which is the author's text for any price of up to 15 digits.
 */
export function decimalOfNumber(value: number): string {
  if (!Number.isFinite(value)) throw new UsageError(`${value} is not a price`);
  return String(value);
}

/** The greatest of some decimal strings, compared exactly. */
export function maxDecimal(first: string, ...rest: readonly string[]): string {
  return rest.reduce((greatest, text) => {
    const a = parseDecimal(greatest);
    const b = parseDecimal(text);
    const scale = Math.max(a.scale, b.scale);
    const left = a.units * 10n ** BigInt(scale - a.scale);
    const right = b.units * 10n ** BigInt(scale - b.scale);
    return right > left ? text : greatest;
  }, first);
}

/** The exact product of two decimal strings, e.g. a rate and the factor of a service tier. */
export function multiplyDecimals(first: string, second: string): string {
  const a = parseDecimal(first);
  const b = parseDecimal(second);
  const scale = a.scale + b.scale;
  const product = a.units * b.units;
  const digits = (product < 0n ? -product : product).toString().padStart(scale + 1, '0');
  const fraction = digits.slice(digits.length - scale).replace(/0+$/, '');
  const whole = `${product < 0n ? '-' : ''}${digits.slice(0, digits.length - scale)}`;
  return scale === 0 || fraction === '' ? whole : `${whole}.${fraction}`;
}

/** A count at a price of `usd` per `per` units: tokens per million, fees per thousand. */
export interface PricedCount {
  readonly count: number;
  readonly usd: string;
  readonly per: 1 | 1000 | 1_000_000;
}

/**
 * The cost of one call in nano-USD: `sum(count * usd / per) * 10^9`, rounded up once at the end, so that a priced
 * call is never free.
 */
export function costNanoUsd(parts: readonly PricedCount[]): bigint {
  const terms = parts.map(({ count, usd, per }) => {
    if (!Number.isSafeInteger(count) || count < 0) {
      throw new UsageError(`${count} is not a count of tokens or requests`);
    }
    const rate = parseDecimal(usd);
    return { units: rate.units * BigInt(count) * (nanosPerUsd / BigInt(per)), scale: rate.scale };
  });
  const scale = Math.max(0, ...terms.map((term) => term.scale));
  const units = terms.reduce((sum, t) => sum + t.units * 10n ** BigInt(scale - t.scale), 0n);
  if (units < 0n) throw new UsageError('a price must not be negative');
  const divisor = 10n ** BigInt(scale);
  return (units + divisor - 1n) / divisor;
}
