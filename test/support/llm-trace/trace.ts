/** The calls of ../shared/data/llm/AzureLLMInferenceTrace_code.csv: an hour of a production service of code completion. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const file = join(
  import.meta.dirname,
  '../../../../shared/data/llm/AzureLLMInferenceTrace_code.csv',
);

/** For the name of a test that is skipped without the data. */
export const traceAbsent = existsSync(file) ? '' : ' (skipped: ../shared/data is not here)';

export interface TracedCall {
  /** After the first call. */
  readonly atMs: number;
  readonly contextTokens: number;
  readonly generatedTokens: number;
}

export function tracedCalls(): TracedCall[] {
  const [, ...lines] = readFileSync(file, 'utf8').trim().split('\n');
  const calls = lines.map((line) => {
    const [at = '', context = '', generated = ''] = line.trim().split(',');
    const atMs = Date.parse(`${at.replace(' ', 'T').slice(0, 23)}Z`);
    return { atMs, contextTokens: Number(context), generatedTokens: Number(generated) };
  });
  const first = calls[0]?.atMs ?? 0;
  return calls.map((call) => ({ ...call, atMs: call.atMs - first }));
}
