/**
 * Amounts of a reconciliation: exact multiples of 10^-18 USD (`atto`), because a provider's amounts have more decimals
 * than a nano-dollar, and the sum of the drift's parts must be the drift.
 */

const scale = 18;
const one = 10n ** 18n;
const attoPerNano = 10n ** 9n;

/** An amount as it stands in a file. */
export interface Amount {
  readonly atto: bigint;
  /** Decimals that it is written with, those of an exponent included. */
  readonly decimals: number;
}

const pattern = /^([+-]?)(\d{0,20})(?:\.(\d{0,100}))?(?:[eE]([+-]?\d{1,5}))?$/;
/** Below it nothing can be an amount of money, and above it no budget can hold it. */
const maxExponent = 12;

/**
 * A decimal such as `0.06`, `1.2e-05` or `0E-6176`, times 10^`shift`; undefined for any other text and for 10^9 USD and
 * more. Digits behind the 18th decimal are rounded.
 */
export function parseAmount(text: string, shift = 0): Amount | undefined {
  const match = pattern.exec(text);
  if (match === null) return undefined;
  const [, sign = '', whole = '', fraction = '', exponentText = '0'] = match;
  if (whole === '' && fraction === '') return undefined;
  const digits = BigInt(`${whole}${fraction}`);
  const exponent = Number(exponentText) + shift;
  const decimals = Math.max(0, fraction.length - exponent);
  if (digits === 0n) return { atto: 0n, decimals: Math.min(decimals, scale) };
  if (exponent > maxExponent) return undefined;
  const places = scale + exponent - fraction.length;
  const atto =
    places >= 0 ? digits * 10n ** BigInt(places) : roundedShare(digits, 10n ** BigInt(-places));
  if (atto >= 10n ** 9n * one) return undefined;
  return { atto: sign === '-' ? -atto : atto, decimals: Math.min(decimals, scale) };
}

function roundedShare(units: bigint, divisor: bigint): bigint {
  return (units * 2n + divisor) / (divisor * 2n);
}

/** A `numeric` of the database. Throws for what is none. */
export function attoOf(numeric: string): bigint {
  const amount = parseAmount(numeric);
  if (amount === undefined) throw new Error(`${numeric.slice(0, 40)} is not an amount`);
  return amount.atto;
}

/** The shortest exact decimal in USD. */
export function formatAtto(atto: bigint): string {
  const magnitude = atto < 0n ? -atto : atto;
  const fraction = (magnitude % one).toString().padStart(scale, '0').replace(/0+$/, '');
  const whole = `${atto < 0n ? '-' : ''}${magnitude / one}`;
  return fraction === '' ? whole : `${whole}.${fraction}`;
}

/** As it is charged: rounded up to a nano-dollar. */
export function nanoCeil(atto: bigint): bigint {
  return atto <= 0n ? 0n : (atto + attoPerNano - 1n) / attoPerNano;
}

export const attoOfNano = (nanoUsd: bigint): bigint => nanoUsd * attoPerNano;

/** The last decimal of amounts that are written with so many. */
export const unitOf = (decimals: number): bigint =>
  10n ** BigInt(scale - Math.min(scale, decimals));

/** What the double that an amount may have passed through can have changed. */
export const floatError = (atto: bigint): bigint => (atto < 0n ? -atto : atto) / 2n ** 48n + 1n;
