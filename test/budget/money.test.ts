import { describe, expect, it } from 'vitest';
import {
  costNanoUsd,
  multiplyDecimals,
  decimalOfNumber,
  formatUsd,
  maxDecimal,
  parseUsd,
} from '../../src/budget/money.ts';

describe('money', () => {
  it.each([
    ['0', 0n],
    ['0.000000001', 1n],
    ['25.00', 25_000_000_000n],
    ['-0.5', -500_000_000n],
    ['1e-7', 100n],
    ['2.5E+2', 250_000_000_000n],
    ['999999999.999999999', 999_999_999_999_999_999n],
    ['0.1000000000000', 100_000_000n],
  ])('reads %s exactly', (text, nanoUsd) => {
    expect(parseUsd(text)).toBe(nanoUsd);
  });

  it.each([
    '',
    ' 1',
    '1,5',
    '.5',
    '5.',
    'NaN',
    'Infinity',
    '0x10',
    '1e9999',
    '--1',
    '0.0000000001',
  ])('refuses "%s" instead of guessing or rounding', (text) => {
    expect(() => parseUsd(text)).toThrow(/not a decimal number|more than 9 decimals/);
  });

  it.each([
    [0n, '0'],
    [1n, '0.000000001'],
    [400_000n, '0.0004'],
    [-1_500_000_000n, '-1.5'],
    [12_345_678_901_234_567_890n, '12345678901.23456789'],
  ])('writes %s nano-USD as the shortest decimal', (nanoUsd, text) => {
    expect(formatUsd(nanoUsd)).toBe(text);
    expect(parseUsd(text)).toBe(nanoUsd);
  });

  it('rounds the cost of a call up once, not each part', () => {
    const third = { count: 1, usd: '0.0003', per: 1_000_000 } as const;
    expect(costNanoUsd([third])).toBe(1n);
    expect(costNanoUsd([third, third, third])).toBe(1n);
    expect(costNanoUsd([third, third, third, third])).toBe(2n);
  });

  it('a call with a price is never free, and a call without tokens costs nothing', () => {
    expect(costNanoUsd([{ count: 1, usd: '1e-12', per: 1_000_000 }])).toBe(1n);
    expect(costNanoUsd([{ count: 0, usd: '15', per: 1_000_000 }])).toBe(0n);
    expect(costNanoUsd([{ count: 1, usd: '5', per: 1000 }])).toBe(5_000_000n);
  });

  it('is exact where floating point is not', () => {
    // 0.1 * 3 as doubles is 0.30000000000000004, which would round up to one nano-dollar more.
    expect(costNanoUsd([{ count: 3_000_000, usd: decimalOfNumber(0.1), per: 1_000_000 }])).toBe(
      300_000_000n,
    );
    expect(costNanoUsd([{ count: 9_007_199_254_740_991, usd: '0.15', per: 1_000_000 }])).toBe(
      1_351_079_888_211_148_650n,
    );
  });

  it('refuses fractional tokens, negative tokens and negative prices', () => {
    for (const count of [1.5, -1, Number.NaN, 2 ** 53]) {
      expect(() => costNanoUsd([{ count, usd: '1', per: 1 }])).toThrow(/not a count/);
    }
    expect(() => costNanoUsd([{ count: 1, usd: '-1', per: 1 }])).toThrow(/must not be negative/);
  });

  it('multiplies decimal strings exactly', () => {
    expect(multiplyDecimals('0.1', '0.2')).toBe('0.02');
    expect(multiplyDecimals('15', '2')).toBe('30');
    expect(multiplyDecimals('1e-7', '0.5')).toBe('0.00000005');
    expect(multiplyDecimals('0', '1.1')).toBe('0');
  });

  it('keeps the decimal text of published prices, small ones included', () => {
    expect([0.15, 0.075, 1e-7, 10].map(decimalOfNumber)).toEqual(['0.15', '0.075', '1e-7', '10']);
    expect(() => decimalOfNumber(Number.NaN)).toThrow(/not a price/);
    expect(maxDecimal('0.15', '1.5e-1', '0.1500001', '0.02')).toBe('0.1500001');
  });
});
