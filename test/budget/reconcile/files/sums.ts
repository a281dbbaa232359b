/** Sums of the test provider's book by day, model and cell, and CSV. */
import type { Billed } from '../faulty-calls.ts';

export const csv = (rows: readonly (readonly string[])[]): string =>
  `${rows.map((row) => row.map((text) => (text.includes(',') ? `"${text}"` : text)).join(',')).join('\n')}\n`;

export interface Bucket {
  readonly day: string;
  readonly model: string;
  readonly cell: 'input' | 'output';
  readonly tokens: number;
  readonly atto: bigint;
}

/** Daily sums by model, apart for input and output. */
export function bucketsOf(billed: readonly Billed[]): Bucket[] {
  const keys = [...new Set(billed.map(({ day, entry }) => `${day} ${entry.model}`))].toSorted();
  return keys.flatMap((key) => {
    const [day = '', model = ''] = key.split(' ');
    const own = billed.filter((one) => one.day === day && one.entry.model === model);
    const part = (cell: 'input' | 'output'): Bucket => {
      const tokens = own.map(({ entry }) =>
        cell === 'input' ? entry.usage.prompt_tokens : entry.usage.completion_tokens,
      );
      const rate = own[0]?.model[cell === 'input' ? 'inputMicroUsd' : 'outputMicroUsd'] ?? 0;
      const total = tokens.reduce((a, b) => a + b, 0);
      return { day, model, cell, tokens: total, atto: BigInt(total) * BigInt(rate) * 10n ** 6n };
    };
    return [part('input'), part('output')];
  });
}

export const secondsOf = (day: string): number => Date.parse(`${day}T00:00:00Z`) / 1000;
