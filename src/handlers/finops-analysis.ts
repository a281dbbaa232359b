/**
 * `finops_analysis`: one LLM call analyses a tenant's costs from bounded evidence (two calls when the first answer is
 * malformed); the analysis is stored exactly once per job.
 */
import { z } from 'zod';
import type { TenantSql } from '../db/tenant.ts';
import { LlmOutputError } from '../llm/llm.ts';
import type { Llm, LlmAnswer } from '../llm/llm.ts';
import {
  analysisPrompt,
  analysisSchema,
  analysisSystem,
  repairPrompt,
} from '../costs/analysis/prompt.ts';
import type { Analysis } from '../costs/analysis/prompt.ts';
import { defineHandler } from './define.ts';
import type { JobContext } from './define.ts';
import { gatherEvidence } from '../costs/analysis/evidence.ts';
import type { Evidence } from '../costs/analysis/evidence.ts';
import { ingestionKey } from '../costs/uploads/uploads.ts';
import { done, snooze } from './outcome.ts';

const payload = z.object({
  /** Length of the analysed period, and of the one before it that it is compared with, in days. */
  periodDays: z.number().int().min(7).max(92).default(30),
});

const maxOutputTokens = 1500;
const uploadPollMs = 2000;

/**
 * A pending upload would make this analysis outdated; one that is older than an hour, or whose ingestion has ended
 * without it, is treated as abandoned.
 */
async function findPendingUpload(sql: TenantSql): Promise<string | null> {
  const [upload] = await sql<{ id: string }>`
    select id from public.ingest_uploads
    where created_at > now() - interval '1 hour' and (state = 'uploading'
      or state = 'ready' and purser.is_job_open('cost_ingestion', ${ingestionKey('')} || id))
    order by id limit 1`;
  return upload?.id ?? null;
}

/** The job's result: the columns of `analyses` that lists show. */
export interface AnalysisResult {
  readonly headline: string;
  readonly periodStart: string;
  readonly periodEnd: string;
  readonly currency: string;
  readonly totalCost: string;
  readonly estimatedMonthlySavingsUsd: string;
  readonly anomalies: number;
  readonly recommendations: number;
  readonly analyst: unknown;
  /** Cost of the call that gave this analysis. */
  readonly costUsd: string;
}

async function findAnalysis(sql: TenantSql, jobId: string): Promise<AnalysisResult | null> {
  const [row] = await sql<AnalysisResult>`
    select headline, period_start::text as "periodStart", period_end::text as "periodEnd", currency,
           trim_scale(total_cost)::text as "totalCost",
           trim_scale(estimated_monthly_savings_usd)::text as "estimatedMonthlySavingsUsd",
           jsonb_array_length(anomalies) as anomalies,
           jsonb_array_length(recommendations) as recommendations,
           analyst, trim_scale(cost_usd)::text as "costUsd"
    from public.analyses where job_id = ${jobId}::bigint`;
  return row ?? null;
}

/** Asks, and asks once more if the answer does not fit the schema. Each call has its own hold and settlement. */
async function ask(llm: Llm, evidence: Evidence): Promise<LlmAnswer<Analysis>> {
  const call = (prompt: string): Promise<LlmAnswer<Analysis>> =>
    llm.generate<Analysis>({
      system: analysisSystem,
      prompt,
      schema: analysisSchema,
      maxOutputTokens,
    });
  try {
    return await call(analysisPrompt(evidence));
  } catch (error) {
    if (!(error instanceof LlmOutputError)) throw error;
    return call(repairPrompt(evidence, error));
  }
}

/** The first sentence of a summary, at most 160 characters. */
function headlineOf(summary: string): string {
  const [sentence = ''] = summary.trim().split(/(?<=[.!?])\s|\n/, 1);
  return sentence.length <= 160 ? sentence : `${sentence.slice(0, 157)}...`;
}

async function store(
  ctx: JobContext<unknown>,
  evidence: Evidence,
  answer: LlmAnswer<Analysis>,
  analysis: Analysis,
): Promise<void> {
  const savings = analysis.recommendations
    .reduce((sum, { estimatedMonthlySavingsUsd }) => sum + estimatedMonthlySavingsUsd, 0)
    .toFixed(2);
  const { periodStart, periodEnd, currency, totalCost } = evidence;
  await ctx.sql`
    insert into public.analyses
      (tenant_id, job_id, analyst, period_start, period_end, currency, total_cost, headline, summary,
       anomalies, recommendations, estimated_monthly_savings_usd, cost_usd)
    values
      (${ctx.tenantId}, ${ctx.jobId}::bigint, ${storableJson(answer.analyst)}::text::jsonb, ${periodStart},
       ${periodEnd}, ${currency}, ${totalCost}, ${storableText(headlineOf(analysis.summary))},
       ${storableText(analysis.summary)}, ${storableJson(analysis.anomalies)}::text::jsonb,
       ${storableJson(analysis.recommendations)}::text::jsonb, ${savings}, ${answer.costUsd})
    on conflict (tenant_id, job_id) do nothing`;
}

/** Without characters that Postgres cannot store, so that a paid answer is not lost for one. */
function storableText(text: string): string {
  return text.replaceAll('\u0000', '').replaceAll(/\p{Surrogate}/gu, '\uFFFD');
}

function storableJson(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) =>
    typeof item === 'string' ? storableText(item) : item,
  );
}

/** Result: `AnalysisResult`, or `{ headline: 'no cost data' }` when the tenant has no cost row. */
export const finopsAnalysis = defineHandler({
  type: 'finops_analysis',
  timeoutMs: 3 * 60_000,
  maxAttempts: 5,
  payload,
  run: async (ctx) => {
    const known = await findAnalysis(ctx.sql, ctx.jobId);
    if (known !== null) return done(known);
    const uploadId = await findPendingUpload(ctx.sql);
    if (uploadId !== null) {
      return snooze({ afterMs: uploadPollMs, reason: `waiting for upload ${uploadId}` });
    }
    const evidence = await gatherEvidence(ctx.sql, ctx.payload.periodDays);
    if (evidence === null) return done({ headline: 'no cost data' });
    const answer = await ask(ctx.llm, evidence);
    if (answer.object === undefined)
      throw new Error('the LLM gateway returned no object for a schema');
    await store(ctx, evidence, answer, answer.object);
    return done(await findAnalysis(ctx.sql, ctx.jobId));
  },
});
