/** `purser prices rerate`: what settled calls cost at corrected prices, and with --apply the entries that charge it. */
import { formatUsd } from '../../../budget/money.ts';
import { assertTenant } from '../../../budget/prices/set.ts';
import type { LeftReason } from '../../../budget/rerate/decide.ts';
import { rerate } from '../../../budget/rerate/rerate.ts';
import type { Rerating } from '../../../budget/rerate/rerate.ts';
import { exitCodes, UsageError } from '../../../errors.ts';
import { highestFactors, tierFactors } from '../../../llm/usage/tier-factors.ts';
import { rerateAs } from '../../../operations/money/rerate.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { jsonOption } from '../../terminal/command.ts';
import { actOptions, reasonedActOf } from '../../terminal/operator-options.ts';
import { formatTable } from '../../terminal/table.ts';
import { timeOption } from '../../terminal/time-option.ts';
import { modelOf, providerOption, tenantOption } from './scope.ts';

const sentences: Readonly<Record<LeftReason, string>> = {
  running: 'the call is still held; repeat the command when it has ended',
  unknown: 'its cost is unknown: the hold stays charged until it is resolved',
  assumed: 'it was settled at its hold because no report came',
  by_evidence: 'its cost was set by evidence, not by usage',
  provider_figure: "the provider's own figure counts",
  no_price: 'no price was in force at its time',
  no_rate: 'the price in force has no rate for what was used',
  service_tier: 'the rates of its service tier are not known',
  other_model: 'another model answered, which the price in force does not cover',
  other_rates: 'it was charged at other rates than those of its price',
  too_large: 'it would cost 10^9 USD or more',
};

function rangeOf(invocation: Invocation): { from: Date; to: Date } {
  const from = timeOption(invocation, 'from');
  const to = timeOption(invocation, 'to') ?? new Date();
  if (from === undefined) throw new UsageError('--from must name the first time to look at');
  if (to <= from) throw new UsageError('--to must be later than --from');
  return { from, to };
}

async function run(invocation: Invocation): Promise<number> {
  if (invocation.flag('apply') && invocation.value('reason') === undefined) {
    throw new UsageError('--apply needs --reason TEXT, which is recorded with every cost');
  }
  const act = invocation.flag('apply') ? reasonedActOf(invocation) : undefined;
  const tenantId = tenantOption(invocation);
  const request = {
    model: modelOf(invocation),
    provider: providerOption(invocation),
    ...rangeOf(invocation),
    tenantId,
    factors: [...new Set(['1', ...Object.values(tierFactors), ...Object.values(highestFactors)])],
  };
  return withDatabase(invocation.config(), async ({ database: { system: sql } }) => {
    if (tenantId !== undefined) await assertTenant(sql, tenantId);
    const found =
      act === undefined
        ? await rerate(sql, request)
        : await rerateAs(sql, act.operator, { ...request, reason: act.reason });
    if (invocation.flag('json')) {
      invocation.print(
        JSON.stringify({ ...found, applied: act !== undefined }, (_, value: unknown) =>
          typeof value === 'bigint' ? value.toString() : value,
        ),
      );
    } else {
      invocation.print(pageOf(found, act !== undefined));
    }
    if (found.changedMeanwhile === 0) return exitCodes.ok;
    invocation.note(
      `the cost of ${found.changedMeanwhile} calls changed meanwhile; repeat the command for them`,
    );
    return exitCodes.failed;
  });
}

const costs = (before: bigint, after: bigint): string[] =>
  [before, after, after - before].map((nanoUsd) => formatUsd(nanoUsd));

function pageOf({ looked, sums, left, repeated }: Rerating, isApplied: boolean): string {
  const total = sums.reduce(
    (sum, row) => ({
      calls: sum.calls + row.calls,
      before: sum.before + row.beforeNanoUsd,
      after: sum.after + row.afterNanoUsd,
    }),
    { calls: 0, before: 0n, after: 0n },
  );
  const lines: string[] = [];
  if (sums.length > 0) {
    lines.push(
      formatTable(
        ['tenant', 'month', 'calls', 'before USD', 'after USD', 'difference'],
        [
          ...sums.map((row) => [
            row.tenantId,
            row.month,
            row.calls,
            ...costs(row.beforeNanoUsd, row.afterNanoUsd),
          ]),
          ['(all)', '', total.calls, ...costs(total.before, total.after)],
        ],
      ),
    );
  }
  for (const { reason, detail, calls, chargedNanoUsd, reservations } of left) {
    const what = detail === null ? '' : ` (${detail})`;
    lines.push(
      `left as charged: ${calls} of ${looked} calls, ${formatUsd(chargedNanoUsd)} USD: ${sentences[reason]}${what}; e.g. reservation ${reservations[0]}`,
    );
  }
  if (repeated > 0) lines.push(`${repeated} calls were re-rated by another run`);
  lines.push(endOf(total.calls, looked, isApplied));
  return lines.join('\n');
}

function endOf(calls: number, looked: number, isApplied: boolean): string {
  if (calls === 0) return `${looked} calls in this range; no cost changes`;
  return isApplied
    ? `${calls} of ${looked} calls were re-rated`
    : `${calls} of ${looked} calls would change; nothing was written: repeat with --apply --reason TEXT`;
}

export const rerateCommand: Command = {
  path: 'prices rerate',
  summary:
    'show what settled calls cost at prices that were corrected since, and charge the difference with --apply; safe to repeat',
  options: {
    model: { value: 'M', help: 'the model as calls name it, or as its price does', required: true },
    provider: { value: 'P', help: 'only calls at this provider, as in: prices set' },
    tenant: { value: 'T', help: 'only this tenant (default: all)' },
    from: {
      value: 'TIME',
      help: 'calls from then on, e.g. 2026-12-01 or 2026-12-01T08:00:00Z',
      required: true,
    },
    to: { value: 'TIME', help: 'calls before then (default: now)' },
    apply: { help: 'write the differences into the months and scopes of the calls' },
    ...actOptions,
    json: jsonOption,
  },
  run,
};
