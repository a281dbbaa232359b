/**
 * How much of what is held for LLM calls is charged in the end: the 8,819 calls of a production trace, with text in many
 * scripts, on one tenant. Once at a provider whose tokenizer is known, beside what a hold by bytes takes for the same
 * requests, and once each at servers with other tokenizers, where no call may be charged more than its hold.
 */
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { countTokens as countOfR50k } from 'gpt-tokenizer/encoding/r50k_base';
import { holdEfficiency } from '../src/budget/hold-efficiency.ts';
import { verifyBudgets } from '../src/budget/verify.ts';
import { connect } from '../src/db/connect.ts';
import type { Sql } from '../src/db/connect.ts';
import { startEmbeddedPostgres } from '../src/db/embedded/embedded.ts';
import { migrateUp } from '../src/db/migrate.ts';
import { asOpenAi, openAiOnLoopback } from '../test/support/llm-trace/openai-host.ts';
import { outputCap, replay, replayedModel, totalOf } from '../test/support/llm-trace/replay.ts';
import type { ReplayedScript } from '../test/support/llm-trace/replay.ts';
import { traceAbsent, tracedCalls } from '../test/support/llm-trace/trace.ts';
import { startProvider } from '../test/support/provider.ts';
import { countOfO200k } from '../test/support/provider-protocols.ts';
import type { CountTokens } from '../test/support/provider-protocols.ts';

/** Of today's 12.8 %, as the issue has it; at the same output cap. */
const leastImprovement = 1.5;
/** An hour of calls in about a minute, or as fast as this machine can. */
const speed = 60;
const maxInFlight = 16;

interface Run {
  readonly name: string;
  /** Answers under the name api.openai.com. */
  readonly known: boolean;
  readonly count: CountTokens;
}

const runs: readonly Run[] = [
  { name: 'o200k_base, at api.openai.com', known: true, count: countOfO200k },
  { name: 'r50k_base, at a compatible server', known: false, count: (text) => countOfR50k(text) },
  {
    name: 'a token for each byte of NFKC, at a compatible server',
    known: false,
    count: (text) => Buffer.byteLength(text.normalize('NFKC')),
  },
];

async function measure(sql: Sql, { known, count }: Run): Promise<readonly ReplayedScript[]> {
  const provider = await startProvider();
  provider.countWith(count);
  const baseUrl = known ? asOpenAi(provider.url) : provider.url;
  try {
    const calls = tracedCalls();
    const { scripts } = await replay({ sql, provider, baseUrl, calls, speed, maxInFlight });
    return scripts;
  } finally {
    await provider.stop();
  }
}

const share = (part: bigint, whole: bigint) => Number((part * 100_000n) / whole) / 1000;

function print(figures: readonly ReplayedScript[]): void {
  console.log('  script      calls  bytes/token  by bytes     held  beyond');
  for (const one of figures) {
    const cells = [
      one.script.padEnd(10),
      String(one.calls).padStart(6),
      (one.bytes / one.inputTokens).toFixed(2).padStart(12),
      `${share(one.chargedNanoUsd, one.byBytesNanoUsd).toFixed(1)} %`.padStart(9),
      `${share(one.chargedNanoUsd, one.heldNanoUsd).toFixed(1)} %`.padStart(8),
      String(one.beyondHold).padStart(7),
    ];
    console.log(`  ${cells.join(' ')}`);
  }
}

async function main(): Promise<boolean> {
  const dataDir = await mkdtemp(join(tmpdir(), 'purser-bench-'));
  const server = await startEmbeddedPostgres({ dataDir, durable: false });
  const sql = connect(server.url, { max: 8, applicationName: 'purser bench' });
  const restore = openAiOnLoopback();
  let passed = true;
  try {
    await migrateUp(server.url);
    for (const run of runs) {
      const startedMs = performance.now();
      const figures = await measure(sql, run);
      const total = totalOf(figures);
      const seconds = (performance.now() - startedMs) / 1000;
      console.log(
        `hold efficiency of ${replayedModel}, cap ${outputCap}, counted by ${run.name} (${seconds.toFixed(0)} s)`,
      );
      print([...figures, total]);
      const improvement = Number(total.byBytesNanoUsd) / Number(total.heldNanoUsd);
      if (run.known) console.log(`  ${improvement.toFixed(2)}x that of a hold by bytes`);
      passed &&= total.beyondHold === 0 && (!run.known || improvement >= leastImprovement);
    }
    const { differences } = await verifyBudgets(sql);
    for (const { model, calls, efficiency, beyondHold } of await holdEfficiency(sql)) {
      const percent = ((efficiency ?? 0) * 100).toFixed(1);
      console.log(
        `all runs: ${model}, ${calls} calls, ${percent} %, ${beyondHold} beyond their hold`,
      );
    }
    console.log(`budget verify: ${differences.length} differences`);
    return passed && differences.length === 0;
  } finally {
    restore();
    await sql.end({ timeout: 5 });
    await server.stop();
  }
}

if (traceAbsent !== '') throw new Error(`no trace${traceAbsent}`);
process.exitCode = (await main()) ? 0 : 1;
