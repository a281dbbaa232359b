/** What stands in the thread of handlers loads no SDK, no tokenizer, no prices and no statement of the budget. */
import { readFileSync } from 'node:fs';
import { join, normalize } from 'node:path';
import { expect, it } from 'vitest';

const sourceRoot = join(import.meta.dirname, '..', '..', 'src');

/** Files of src/ and packages that a file loads, now or later; types load nothing. */
function loads(entry: string, seen = new Set<string>()): Set<string> {
  if (seen.has(entry)) return seen;
  seen.add(entry);
  const text = readFileSync(join(sourceRoot, entry), 'utf8');
  const pattern = /^import (?!type )[^;]*?from '([^']+)'|import\('([^']+)'\)/gm;
  for (const [, early, late] of text.matchAll(pattern)) {
    const specifier = early ?? late ?? '';
    if (specifier.startsWith('.')) loads(normalize(join(entry, '..', specifier)), seen);
    else seen.add(specifier);
  }
  return seen;
}

it('the Llm of a handler imports no provider and no budget', () => {
  expect([...loads('llm/handler-llm.ts')].toSorted()).toEqual([
    'bounded-json.ts',
    'bounded-text.ts',
    'errors.ts',
    'llm/byte-limit.ts',
    'llm/check-call.ts',
    'llm/handler-llm.ts',
    'llm/ladder/defaults.ts',
    'llm/llm.ts',
    'llm/prompt/conversation.ts',
    'llm/prompt/messages.ts',
    'llm/prompt/request.ts',
    'llm/prompt/tools.ts',
    'llm/streams/handler-stream.ts',
    'llm/structured.ts',
    'names.ts',
    'node:util',
    'spreadsheet-ids.ts',
  ]);
});

it('packed errors import no provider', () => {
  expect([...loads('worker/executors/packed-errors.ts')].toSorted()).toEqual([
    'bounded-json.ts',
    'bounded-text.ts',
    'budget/budget-exceeded.ts',
    'budget/money.ts',
    'errors.ts',
    'llm/llm.ts',
    'node:util',
    'worker/executors/packed-errors.ts',
  ]);
});

it('the gateway imports both, so that the checks above can fail', () => {
  const loaded = loads('llm/create-llm.ts');
  for (const heavy of ['ai', '@ai-sdk/anthropic', 'llm/tokens/count.ts', 'budget/reserve.ts']) {
    expect(loaded).toContain(heavy);
  }
});
