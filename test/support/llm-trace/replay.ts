/** Replays traced calls through the gateway on one tenant, and reads what was held for each and charged. */
import { setTimeout as sleep } from 'node:timers/promises';
import { estimateCost } from '../../../src/budget/bill.ts';
import { parseUsd } from '../../../src/budget/money.ts';
import type { PinnedPrice } from '../../../src/budget/pinned-price.ts';
import { publishedPrice } from '../../../src/budget/prices/published.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { byteBound } from '../../../src/llm/tokens/byte-bound.ts';
import { createLlm } from '../../../src/llm/create-llm.ts';
import type { LlmProviderConfig } from '../../../src/llm/create-llm.ts';
import type { CallLlm } from '../../../src/llm/llm.ts';
import { createLogger } from '../../../src/log.ts';
import type { TestProvider } from '../provider.ts';
import { addTenant, startAttempt } from '../tenants.ts';
import { scripts, textOf } from './texts.ts';
import type { TracedCall } from './trace.ts';

/** The longest answer of the trace has 1,899 tokens. */
export const outputCap = 2000;
export const replayedModel = 'gpt-4o-mini';

export interface ReplayOptions {
  readonly sql: Sql;
  readonly provider: TestProvider;
  readonly baseUrl: string;
  readonly calls: readonly TracedCall[];
  /** How much faster than in the trace the calls start. */
  readonly speed: number;
  /** Calls that are due wait while so many run. */
  readonly maxInFlight: number;
}

export interface ReplayedScript {
  readonly script: string;
  readonly calls: number;
  readonly chargedNanoUsd: bigint;
  readonly heldNanoUsd: bigint;
  /** What a hold by bytes alone takes for the same requests at the same cap. */
  readonly byBytesNanoUsd: bigint;
  /** Calls that were charged more than their hold. */
  readonly beyondHold: number;
  readonly bytes: number;
  readonly inputTokens: number;
}

export interface Replayed {
  readonly tenantId: string;
  readonly scripts: readonly ReplayedScript[];
}

/** One job per script; the calls of the trace take the scripts in turn. */
export async function replay(options: ReplayOptions): Promise<Replayed> {
  const { sql, provider, baseUrl, calls, speed, maxInFlight } = options;
  const tenantId = await addTenant(sql, { limitUsd: '1000000' });
  const config = { kind: 'openai', model: replayedModel, apiKey: 'k', baseUrl } as const;
  const jobs = await Promise.all(scripts.map((script) => startJob(sql, tenantId, script, config)));
  const startedAt = performance.now();
  let taken = 0;
  const client = async () => {
    for (let at = taken++; at < calls.length; at = taken++) {
      const call = calls[at];
      const job = jobs[at % jobs.length];
      if (call === undefined || job === undefined) return;
      const dueMs = startedAt + call.atMs / speed - performance.now();
      if (dueMs > 0) await sleep(dueMs);
      provider.script({ kind: 'answer', content: textOf('English', call.generatedTokens, at) });
      await job.call({
        system: job.script,
        prompt: textOf(job.script, call.contextTokens, at),
        json: false,
        maxOutputTokens: outputCap,
      });
    }
  };
  await Promise.all(Array.from({ length: maxInFlight }, client));
  const figures = await Promise.all(
    jobs.map(({ script, jobId }) => figuresOf(options, script, jobId)),
  );
  return { tenantId, scripts: figures };
}

interface ReplayJob {
  readonly script: string;
  readonly jobId: string;
  readonly call: CallLlm;
}

async function startJob(
  sql: Sql,
  tenantId: string,
  script: string,
  provider: LlmProviderConfig,
): Promise<ReplayJob> {
  const attempt = await startAttempt(sql, tenantId);
  const { signal } = new AbortController();
  const log = createLogger({ level: 'silent', role: 'test' });
  const { call } = createLlm({ provider, budgetSql: sql }).forAttempt({ ...attempt, signal, log });
  return { script, jobId: attempt.jobId, call };
}

async function figuresOf(
  { sql, provider }: ReplayOptions,
  script: string,
  jobId: string,
): Promise<ReplayedScript> {
  const [row] = await sql<
    { calls: number; charged: string; held: string; beyond: number; tokens: number }[]
  >`
    select count(*)::int as calls, coalesce(sum(u.cost_usd), 0)::text as charged,
      coalesce(sum(r.estimated_cost_usd), 0)::text as held,
      count(*) filter (where u.cost_usd > r.estimated_cost_usd)::int as beyond,
      coalesce(sum(u.input_tokens), 0)::int as tokens
    from llm_reservations r join llm_usage u on u.reservation_id = r.id
    where r.job_id = ${jobId}::bigint and r.status = 'APPLIED'`;
  if (row === undefined) throw new Error('no figures');
  const bodies = provider.received.filter(({ body }) => body.messages?.[0]?.content === script);
  const price = priceOfReplay();
  const byBytes = bodies.map(({ text }) =>
    estimateCost(price, {
      inputTokens: byteBound(text, 'https://api.openai.com/v1'),
      maxOutputTokens: outputCap,
    }),
  );
  return {
    script,
    calls: row.calls,
    chargedNanoUsd: parseUsd(row.charged),
    heldNanoUsd: parseUsd(row.held),
    byBytesNanoUsd: byBytes.reduce((sum, cost) => sum + cost, 0n),
    beyondHold: row.beyond,
    bytes: bodies.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0),
    inputTokens: row.tokens,
  };
}

function priceOfReplay(): PinnedPrice {
  const price = publishedPrice({ model: replayedModel });
  if (price === undefined) throw new Error(`${replayedModel} has no published price`);
  return price;
}

/** Of all scripts together. */
export function totalOf(figures: readonly ReplayedScript[]): ReplayedScript {
  const sum = (of: (one: ReplayedScript) => number) =>
    figures.reduce((total, one) => total + of(one), 0);
  const usd = (of: (one: ReplayedScript) => bigint) =>
    figures.reduce((total, one) => total + of(one), 0n);
  return {
    script: 'all',
    calls: sum(({ calls }) => calls),
    chargedNanoUsd: usd(({ chargedNanoUsd }) => chargedNanoUsd),
    heldNanoUsd: usd(({ heldNanoUsd }) => heldNanoUsd),
    byBytesNanoUsd: usd(({ byBytesNanoUsd }) => byBytesNanoUsd),
    beyondHold: sum(({ beyondHold }) => beyondHold),
    bytes: sum(({ bytes }) => bytes),
    inputTokens: sum(({ inputTokens }) => inputTokens),
  };
}
