/** `purser budget top-up|resolve|alerts`. */
import { countAlerts, listAlerts } from '../../../budget/alerts.ts';
import type { ListedAlert } from '../../../budget/alerts.ts';
import { parseUsd } from '../../../budget/money.ts';
import { exitCodes, UsageError } from '../../../errors.ts';
import { topUpAs } from '../../../operations/money/budget.ts';
import { resolveAs } from '../../../operations/money/costs.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { jsonOption } from '../../terminal/command.ts';
import { byOption, reasonOption, reasonedActOf } from '../../terminal/operator-options.ts';
import { limitOf, limitOption, printList, sinceOf, sinceOption } from '../../terminal/cut-list.ts';

function dollars(invocation: Invocation): string {
  const usd = invocation.required('usd');
  if (!/^\d{1,9}(\.\d{1,9})?$/.test(usd)) {
    throw new UsageError(
      `--usd must be US dollars with at most 9 decimals, e.g. 5.00, not ${JSON.stringify(usd)}`,
    );
  }
  return usd;
}

async function topUp(invocation: Invocation): Promise<number> {
  const usd = dollars(invocation);
  const { operator, reason } = reasonedActOf(invocation);
  const tenantId = invocation.required('tenant');
  return withDatabase(invocation.config(), async ({ database }) => {
    await topUpAs(database.system, operator, { tenantId, usd, reason });
    invocation.print(
      invocation.flag('json')
        ? JSON.stringify({ tenantId, usd, reason, by: operator.name })
        : `$${usd} more for tenant ${tenantId} in this month alone; its limit stays as it is. Parked jobs that fit now wake in the next sweep`,
    );
    return exitCodes.ok;
  });
}

const uuid = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/i;

async function resolve(invocation: Invocation): Promise<number> {
  const usd = dollars(invocation);
  const { operator, reason } = reasonedActOf(invocation);
  const evidence = invocation.required('evidence').trim();
  if (evidence === '' || evidence.length > 200 || /\p{Cc}/u.test(evidence)) {
    throw new UsageError(
      '--evidence must name what shows the cost in 1 to 200 characters, e.g. "invoice 2026-11 line 17"',
    );
  }
  const [reservationId = ''] = invocation.positionals;
  if (!uuid.test(reservationId)) {
    throw new UsageError(
      'name the reservation by its id, as `purser budget unknown` lists it, e.g. 3f2504e0-4f89-41d3-9a0c-0305e82c3301',
    );
  }
  return withDatabase(invocation.config(), async ({ database }) => {
    const { outcome } = await resolveAs(database.system, operator, {
      reservationId,
      costNanoUsd: parseUsd(usd),
      evidence,
      reason,
    });
    invocation.print(
      invocation.flag('json')
        ? JSON.stringify({ reservationId, usd, outcome })
        : `reservation ${reservationId}: ${sentences[outcome]} $${usd}`,
    );
    return exitCodes.ok;
  });
}

const sentences = {
  settled: 'settled at',
  adjusted: 'its settled cost was corrected to',
  unchanged: 'was settled before at the same cost,',
  repeated: 'this evidence was recorded before, with',
} as const;

const usdOption = { value: 'USD', help: 'US dollars, at most 9 decimals', required: true };

async function alerts(invocation: Invocation): Promise<number> {
  const limit = limitOf(invocation);
  const since = sinceOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    const filter = { tenantId: invocation.value('tenant'), since };
    const found = await listAlerts(database.system, { ...filter, limit });
    const total = await countAlerts(database.system, filter);
    const table = {
      what: 'alerts',
      empty: 'no alert',
      head: ['at', 'tenant', 'alert', 'of', 'limit', 'used', 'delivered', 'tries', 'last failure'],
      cells: (one: ListedAlert) => [
        one.at,
        one.tenantId ?? '(all)',
        one.kind === 'overage' ? 'beyond its hold' : `${one.percent} %`,
        one.reservationId ?? (one.scope === null ? 'month' : `${one.scope} ${one.scopeValue}`),
        one.limitUsd,
        one.usedUsd,
        one.deliveredAt ?? '',
        one.tries,
        one.lastFailure ?? '',
      ],
    };
    printList(invocation, found, table, total);
    return exitCodes.ok;
  });
}

export const budgetChangeCommands: readonly Command[] = [
  {
    path: 'budget top-up',
    summary: "add an amount to a tenant's running month alone",
    options: {
      tenant: { value: 'T', help: "the tenant's id", required: true },
      usd: usdOption,
      reason: reasonOption,
      by: byOption,
      json: jsonOption,
    },
    run: topUp,
  },
  {
    path: 'budget resolve',
    summary:
      'settle a hold of unknown outcome, or correct a settled cost, by what an invoice or a log shows',
    positionals: [{ name: 'RESERVATION', help: 'id of the reservation', required: true }],
    options: {
      usd: { ...usdOption, help: 'what was billed, in US dollars; 0 if it was not' },
      evidence: {
        value: 'TEXT',
        help: 'what shows it; counted once per reservation',
        required: true,
      },
      reason: reasonOption,
      by: byOption,
      json: jsonOption,
    },
    run: resolve,
  },
  {
    path: 'budget alerts',
    summary: 'list the newest alerts: shares of a limit that were passed, calls beyond their hold',
    options: {
      tenant: { value: 'T', help: 'only this tenant' },
      since: sinceOption,
      limit: limitOption,
      json: jsonOption,
    },
    run: alerts,
  },
];
