/** The table of an encoding finds every token, and nothing else. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { expect, it } from 'vitest';
import { loadRankTable } from '../../../src/llm/tokens/rank-table.ts';

it.each(['o200k_base', 'cl100k_base'] as const)('%s', async (name) => {
  const path = createRequire(import.meta.url).resolve(`gpt-tokenizer/data/${name}.tiktoken`);
  const ranks = new Map<string, number>();
  for (const line of readFileSync(path, 'latin1').trim().split('\n')) {
    const [token = '', rank] = line.split(' ');
    ranks.set(Buffer.from(token, 'base64').toString('latin1'), Number(rank));
  }
  const table = await loadRankTable(name);
  let wrong = 0;
  for (const [token, rank] of ranks) {
    const bytes = Buffer.from(`${token}${token}`, 'latin1');
    const { length } = token;
    if (table.rankOf(bytes, length, 2 * length) !== rank) wrong += 1;
    if (rank % 10 !== 0) continue;
    // Its beginning and its continuation are tokens themselves, or nothing.
    for (const end of [length - 1, length + 1]) {
      const expected = ranks.get(bytes.toString('latin1', 0, end)) ?? -1;
      if (end > 0 && table.rankOf(bytes, 0, end) !== expected) wrong += 1;
    }
  }
  expect(ranks.size).toBeGreaterThan(100_000);
  expect(wrong).toBe(0);
});
