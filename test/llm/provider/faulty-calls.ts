/**
 * Many calls through the gateway to a provider that fails some of them, after which every bill in the provider's own
 * book is compared with what was charged. A call without an answer is repeated, as the next attempt of its job would.
 */
import { formatUsd, parseUsd } from '../../../src/budget/money.ts';
import { recordUsage } from '../../../src/budget/settle.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { codeOf } from '../../../src/errors.ts';
import { newToken } from '../../../src/jobs/attempts.ts';
import { createLlm } from '../../../src/llm/create-llm.ts';
import { randomOf } from '../../budget/storm/random.ts';
import { silentLog } from '../../support/llm-attempt.ts';
import type { WireUsage } from '../../support/provider-protocols.ts';
import { startProvider } from '../../support/provider.ts';
import type { Scripted, TestProvider } from '../../support/provider.ts';
import { addTenant, endAttempt, insertAttempt, startAttempt } from '../../support/tenants.ts';

export interface FaultyCallsOptions {
  readonly sql: Sql;
  readonly calls: number;
  readonly lanes: number;
  /** Of the requests. */
  readonly faultShare: number;
  readonly seed: number;
  /** Of one call; a provider that never answers keeps a lane busy for so long. */
  readonly timeoutMs: number;
}

export interface Charged {
  readonly spentNanoUsd: bigint;
  readonly unknownNanoUsd: bigint;
  readonly reservedNanoUsd: bigint;
}

export interface FaultyCallsReport extends Charged {
  /** Those that were repeated included. */
  readonly requests: number;
  readonly repeated: number;
  readonly failures: Readonly<Record<string, number>>;
  readonly billedCalls: number;
  readonly billNanoUsd: bigint;
  /** Billed calls of which neither the bill nor the hold is charged. */
  readonly lostUsage: number;
  readonly resolved: number;
  readonly afterResolution: Charged;
  /** Settlements that were reported a second time and charged again. */
  readonly chargedTwice: number;
}

/** USD per million tokens, with a fraction of a nano-dollar for a token. */
const price = { model: 'faulty', input: '0.1503', output: '0.6007' };
const tenants = 10;

/** All of them but the last three are billed. */
const faults: readonly Scripted[] = [
  { kind: 'hang' },
  { kind: 'drop' },
  { kind: 'cut' },
  { kind: 'answer', usage: null },
  { kind: 'raw', body: '<html>Bad gateway</html>' },
  { kind: 'status', status: 429 },
  { kind: 'status', status: 500 },
  { kind: 'status', status: 502 },
];

export async function runFaultyCalls(options: FaultyCallsOptions): Promise<FaultyCallsReport> {
  const { sql } = options;
  await sql`
    insert into llm_prices (model, valid_from, input_usd_per_mtok, output_usd_per_mtok)
    values (${price.model}, '2020-01-01', ${price.input}, ${price.output})`;
  const provider = await startProvider();
  try {
    const ran = await callAll(options, provider);
    const bills = billsOf(provider);
    const lostUsage = await countLost(sql, bills);
    const charged = await chargedIn(sql);
    const chargedTwice = await settleAgain(sql);
    const resolved = await resolve(sql, bills);
    return {
      ...ran,
      ...charged,
      billedCalls: provider.book.length,
      billNanoUsd: [...bills.values()].reduce((sum, { cost }) => sum + cost, 0n),
      lostUsage,
      resolved,
      afterResolution: await chargedIn(sql),
      chargedTwice,
    };
  } finally {
    await provider.stop();
  }
}

async function callAll(options: FaultyCallsOptions, provider: TestProvider) {
  const { sql, calls, lanes, faultShare, seed, timeoutMs } = options;
  const random = randomOf(seed);
  const next = (): Scripted =>
    random() < faultShare
      ? (faults[Math.floor(random() * faults.length)] ?? { kind: 'hang' })
      : { kind: 'answer' };
  const gateway = createLlm({
    provider: { kind: 'openai', model: price.model, baseUrl: provider.url, timeoutMs },
    budgetSql: sql,
  });
  const ids = await Promise.all(
    Array.from({ length: tenants }, () => addTenant(sql, { limitUsd: '1000' })),
  );
  const { signal } = new AbortController();
  const failures: Record<string, number> = {};
  let [left, requests, repeated] = [calls, 0, 0];

  /** False when the provider may have billed a call without an answer. */
  async function callOnce(attempt: Parameters<typeof endAttempt>[1]): Promise<boolean> {
    provider.script(next());
    requests += 1;
    try {
      await gateway.forAttempt({ ...attempt, signal, log: silentLog }).call({
        system: 'Be brief.',
        prompt: `Is all well at ${markOf(attempt)}? ${'Well? '.repeat(Math.floor(random() * 40))}`,
        json: false,
        maxOutputTokens: 50,
      });
      return true;
    } catch (error) {
      const code = codeOf(error);
      failures[code] = (failures[code] ?? 0) + 1;
      return false;
    } finally {
      await endAttempt(sql, attempt);
    }
  }

  const lane = async () => {
    while (left > 0) {
      left -= 1;
      const tenantId = ids[left % ids.length] ?? '';
      const attempt = await startAttempt(sql, tenantId);
      if (await callOnce(attempt)) continue;
      const again = { ...attempt, attempt: 2, token: newToken(attempt.jobId) };
      await insertAttempt(sql, again);
      repeated += 1;
      await callOnce(again);
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return { requests, repeated, failures };
}

/** Stands in the prompt, so that the book of the provider tells for which attempt a bill is. */
const markOf = ({ jobId, attempt }: { readonly jobId: string; readonly attempt: number }) =>
  `job ${jobId} attempt ${attempt}`;

interface BillOfCall {
  readonly usage: WireUsage;
  readonly cost: bigint;
}

function billsOf({ book }: TestProvider): ReadonlyMap<string, BillOfCall> {
  return new Map(
    book.map(({ text, usage }) => {
      const mark = /job \d+ attempt \d/.exec(text)?.[0] ?? text;
      return [mark, { usage, cost: costOf(usage) }];
    }),
  );
}

/** In nano-USD, rounded up: 150.3 for a token of input and 600.7 for one of output. */
function costOf({ prompt_tokens: input, completion_tokens: output }: WireUsage): bigint {
  return (BigInt(input) * 1503n + BigInt(output) * 6007n + 9n) / 10n;
}

async function chargedIn(sql: Sql): Promise<Charged> {
  const [row] = await sql<{ spent: string; unknown: string; reserved: string }[]>`
    select sum(spent_usd) as spent, sum(unknown_usd) as unknown, sum(reserved_usd) as reserved
    from llm_budget_periods`;
  return {
    spentNanoUsd: parseUsd(row?.spent ?? '0'),
    unknownNanoUsd: parseUsd(row?.unknown ?? '0'),
    reservedNanoUsd: parseUsd(row?.reserved ?? '0'),
  };
}

async function readCalls(sql: Sql) {
  const rows = await sql<
    { id: string; jobId: string; attempt: number; status: string; hold: string; cost: string }[]
  >`
    select r.id, r.job_id as "jobId", r.attempt, r.status, r.estimated_cost_usd as hold,
      coalesce(u.cost_usd, 0) as cost
    from llm_reservations r left join llm_usage u on u.reservation_id = r.id`;
  return rows.map((row) => ({ ...row, mark: markOf(row) }));
}

async function countLost(sql: Sql, bills: ReadonlyMap<string, BillOfCall>): Promise<number> {
  const calls = new Map((await readCalls(sql)).map((call) => [call.mark, call]));
  return [...bills].filter(([mark, { cost }]) => {
    const call = calls.get(mark);
    if (call?.status === 'UNKNOWN') return cost > parseUsd(call.hold);
    return call?.status !== 'APPLIED' || parseUsd(call.cost) !== cost;
  }).length;
}

const rates = [
  ['input', 'prompt_tokens', price.input],
  ['output', 'completion_tokens', price.output],
] as const;
const itemsOf = (usage: WireUsage) =>
  rates.map(([name, count, usd]) => ({
    class: name,
    count: usage[count],
    usd,
    per: 1_000_000 as const,
  }));

/** Settles what is unknown with the bill of the provider, where there is one. */
async function resolve(sql: Sql, bills: ReadonlyMap<string, BillOfCall>): Promise<number> {
  let resolved = 0;
  for (const { id: reservationId, status, mark } of await readCalls(sql)) {
    const bill = bills.get(mark);
    if (status !== 'UNKNOWN' || bill === undefined) continue;
    const { applied } = await recordUsage(sql, { reservationId, items: itemsOf(bill.usage) });
    if (applied) resolved += 1;
  }
  return resolved;
}

/** Reports every settled call once more, as it is stored. */
async function settleAgain(sql: Sql): Promise<number> {
  let twice = 0;
  const rows = await sql<
    { reservationId: string; items: Parameters<typeof recordUsage>[1]['items'] }[]
  >`
    select reservation_id as "reservationId",
      jsonb_agg(jsonb_build_object('class', class, 'count', count, 'usd', usd::text, 'per', per)) as items
    from llm_usage_items group by reservation_id`;
  for (const row of rows) {
    if ((await recordUsage(sql, row)).applied) twice += 1;
  }
  return twice;
}

/** For a line of a report. */
export const usdOf = ({ spentNanoUsd, unknownNanoUsd }: Charged): string =>
  `spent $${formatUsd(spentNanoUsd)}, unknown $${formatUsd(unknownNanoUsd)}`;
