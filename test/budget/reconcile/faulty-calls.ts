/** Calls through the gateway to a provider that fails, and the provider's own book of them. */
import type { Sql } from '../../../src/db/connect.ts';
import type { LlmProviderConfig } from '../../../src/llm/create-llm.ts';
import { llmAttempt } from '../../support/llm-attempt.ts';
import type { Scripted, TestProvider } from '../../support/provider.ts';
import type { BookEntry } from '../../support/streaming/book.ts';
import type { WireProtocol } from '../../support/provider-protocols.ts';
import { addTenant } from '../../support/tenants.ts';

/** What the provider charges, in millionths of a USD per million tokens. */
export interface TestModel {
  readonly name: string;
  readonly inputMicroUsd: number;
  readonly outputMicroUsd: number;
}

export interface Billed {
  readonly entry: BookEntry;
  readonly model: TestModel;
  readonly reservationId: string;
  /** 10^-18 USD. */
  readonly atto: bigint;
  readonly day: string;
}

export interface LedgerCallRow {
  readonly id: string;
  readonly jobId: string;
  readonly status: string;
  readonly model: string;
}

/** 10^-18 USD: what the provider charges for these tokens. */
function attoOfUsage(model: TestModel, input: number, output: number): bigint {
  const micro =
    BigInt(input) * BigInt(model.inputMicroUsd) + BigInt(output) * BigInt(model.outputMicroUsd);
  return micro * 10n ** 6n;
}

/** Decimal USD, with so many decimals, half rounded up. */
export function usdOf(atto: bigint, decimals = 18): string {
  const unit = 10n ** BigInt(18 - decimals);
  const rounded = (atto * 2n + unit) / (unit * 2n);
  const digits = rounded.toString().padStart(decimals + 1, '0');
  return `${digits.slice(0, digits.length - decimals)}.${digits.slice(digits.length - decimals)}`;
}

export const nanoCeilUsd = (atto: bigint): string =>
  usdOf(((atto + 10n ** 9n - 1n) / 10n ** 9n) * 10n ** 9n, 9);

export async function addPrices(sql: Sql, models: readonly TestModel[]): Promise<void> {
  for (const { name, inputMicroUsd, outputMicroUsd } of models) {
    await sql`
      insert into llm_prices (model, valid_from, input_usd_per_mtok, output_usd_per_mtok)
      values (${name}, '2020-01-01', ${inputMicroUsd}::numeric / 1000000, ${outputMicroUsd}::numeric / 1000000)`;
  }
}

/** One fault in `every` calls, of each kind in turn: all are billed but the error. */
export function faultsEvery(every: number, calls: number): Scripted[] {
  const kinds: readonly Scripted[] = [
    { kind: 'hang' },
    { kind: 'cut' },
    { kind: 'status', status: 502 },
  ];
  return Array.from({ length: calls }, (_, place) =>
    place % every === every - 1
      ? (kinds[Math.floor(place / every) % kinds.length] ?? { kind: 'answer' })
      : { kind: 'answer' },
  );
}

const words = 'invoice ledger umbrella desert price total quarter margin node region'.split(' ');

/** Runs calls of all models in turn, eight at a time; each that fails is made once more, as a handler does. */
export async function runCalls(
  sql: Sql,
  provider: TestProvider,
  request: {
    readonly protocol: WireProtocol;
    readonly models: readonly TestModel[];
    readonly calls: number;
    readonly script: readonly Scripted[];
  },
): Promise<LedgerCallRow[]> {
  const { protocol, models, calls, script } = request;
  provider.script(...script);
  const tenants = await Promise.all([1, 2, 3].map(() => addTenant(sql, { limitUsd: '1000' })));
  const jobs: string[] = [];
  const call = async (place: number): Promise<boolean> => {
    const model = models[place % models.length];
    const config: LlmProviderConfig = {
      kind: protocol,
      model: model?.name ?? '',
      apiKey: 'sk-test-0123456789abcdef',
      baseUrl: provider.urls[protocol],
      timeoutMs: 5_000,
    };
    const attempt = await llmAttempt(sql, tenants[place % 3] ?? '', config);
    jobs.push(attempt.jobId);
    const text = Array.from({ length: 5 + (place % 37) }, (_, n) => words[(place + n) % 10]);
    return attempt.llm
      .generate({
        system: 'Be brief.',
        prompt: `job=${attempt.jobId}; ${text.join(' ')}`,
        maxOutputTokens: 40 + (place % 5),
      })
      .then(
        () => true,
        () => false,
      );
  };
  const places = Array.from({ length: calls }, (_, place) => place);
  const worker = async (): Promise<void> => {
    for (let place = places.shift(); place !== undefined; place = places.shift()) {
      if (!(await call(place))) await call(place);
    }
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  return sql<LedgerCallRow[]>`
    select id, job_id as "jobId", status, model from llm_reservations
    where job_id = any(${jobs}::bigint[]) order by job_id`;
}

/** Puts a call and what the provider's book has of it on this UTC day, at noon. */
export async function moveTo(sql: Sql, id: string, day: string): Promise<void> {
  const noon = new Date(`${day}T12:00:00Z`);
  await sql`
    update llm_reservations set created_at = ${noon}, sent_at = ${noon},
      closed_at = ${noon}::timestamptz + interval '5 seconds', expires_at = ${noon}::timestamptz + interval '2 minutes'
    where id = ${id}`;
}

/** The provider's book with the reservation and the day of each entry. Found by the job that the prompt names. */
export function billedCalls(
  provider: TestProvider,
  calls: readonly LedgerCallRow[],
  models: readonly TestModel[],
  dayOf: (call: LedgerCallRow) => string,
): Billed[] {
  const byJob = new Map(calls.map((call) => [call.jobId, call]));
  return provider.book.map((entry) => {
    const [, jobId = ''] = /job=(\d+);/.exec(entry.text) ?? [];
    const call = byJob.get(jobId);
    const model = models.find(({ name }) => name === entry.model);
    if (call === undefined || model === undefined) throw new Error(`no call of job ${jobId}`);
    const { prompt_tokens: input, completion_tokens: output } = entry.usage;
    const atto = attoOfUsage(model, input, output);
    return { entry, model, reservationId: call.id, atto, day: dayOf(call) };
  });
}

/** A day so long ago that its bucket is final. */
export function daysAgo(days: number): string {
  return new Date(Date.now() - days * 86_400_000).toISOString().slice(0, 10);
}
