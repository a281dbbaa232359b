/** `purser budget show|set|verify`, and the commands of budget/. */
import { budgetStatus, setBudget } from '../../budget/budgets.ts';
import type { BudgetStatus } from '../../budget/budgets.ts';
import { verifyBudgets } from '../../budget/verify.ts';
import { exitCodes, PurserError, UsageError } from '../../errors.ts';
import { unknownName } from '../../names.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { jsonOption } from '../terminal/command.ts';
import { formatTable } from '../terminal/table.ts';
import { withDatabase } from '../runtime/with-database.ts';
import { budgetChangeCommands } from './budget/changes.ts';
import { reconcileCommand } from './budget/reconcile.ts';
import { reportCommand } from './budget/report.ts';
import { unknownCommand } from './budget/unknown.ts';

function tableOf(budgets: readonly BudgetStatus[]): string {
  return formatTable(
    [
      'tenant',
      'limit',
      'top-ups',
      'kind',
      'used',
      'of which unknown',
      'reserved',
      'available',
      'resets',
    ],
    budgets.map((budget) => [
      budget.tenantId,
      budget.monthlyLimitUsd,
      budget.topUpUsd,
      budget.hardLimit ? 'hard' : 'soft',
      budget.currentMonthUsageUsd,
      budget.unknownUsd,
      budget.reservedUsd,
      budget.availableUsd,
      budget.resetsAt,
    ]),
  );
}

async function show(invocation: Invocation): Promise<number> {
  const tenantId = invocation.value('tenant');
  return withDatabase(invocation.config(), async ({ database }) => {
    const budgets = await budgetStatus(database.system, tenantId === undefined ? {} : { tenantId });
    if (tenantId !== undefined && budgets.length === 0) {
      throw new PurserError(
        'unknown_tenant',
        `${unknownName('tenant', tenantId)}; see: purser tenants list`,
      );
    }
    invocation.print(invocation.flag('json') ? JSON.stringify(budgets) : tableOf(budgets));
    return exitCodes.ok;
  });
}

async function set(invocation: Invocation): Promise<number> {
  if (invocation.flag('hard') && invocation.flag('soft')) {
    throw new UsageError('use --hard or --soft, not both');
  }
  const monthlyLimitUsd = invocation.required('monthly-limit');
  if (!/^\d{1,9}(\.\d{1,9})?$/.test(monthlyLimitUsd)) {
    throw new UsageError(
      `--monthly-limit must be US dollars with at most 9 decimals, e.g. 25.00, not ${JSON.stringify(monthlyLimitUsd)}`,
    );
  }
  return withDatabase(invocation.config(), async ({ database }) => {
    const budget = await setBudget(database.system, {
      tenantId: invocation.required('tenant'),
      monthlyLimitUsd,
      hard: !invocation.flag('soft'),
    });
    invocation.print(invocation.flag('json') ? JSON.stringify(budget) : tableOf([budget]));
    return exitCodes.ok;
  });
}

async function verify(invocation: Invocation): Promise<number> {
  return withDatabase(invocation.config(), async ({ database }) => {
    const found = await verifyBudgets(database.system);
    const { differences } = found;
    if (invocation.flag('json')) invocation.print(JSON.stringify(found));
    else if (differences.length === 0) {
      invocation.print(
        `${found.periods} budget periods and ${found.reservations} reservations recomputed: no difference; ` +
          `${found.leakedHolds} holds are past their expiry, $${found.overageUsd} were billed beyond the holds`,
      );
    } else {
      invocation.print(
        formatTable(
          ['tenant', 'period', 'counter', 'stored', 'recomputed'],
          differences.map((row) => [
            row.tenantId,
            row.periodStart,
            row.name,
            row.stored,
            row.recomputed,
          ]),
        ),
      );
    }
    return differences.length === 0 ? exitCodes.ok : exitCodes.failed;
  });
}

export const budgetCommands: readonly Command[] = [
  {
    path: 'budget show',
    summary: "list each tenant's budget of this month: limit, used, reserved and available",
    options: { tenant: { value: 'T', help: 'only this tenant' }, json: jsonOption },
    run: show,
  },
  {
    path: 'budget set',
    summary: "set a tenant's monthly limit",
    options: {
      tenant: { value: 'T', help: "the tenant's id", required: true },
      'monthly-limit': {
        value: 'USD',
        help: 'US dollars, e.g. 25.00; 0 refuses every call',
        required: true,
      },
      hard: { help: 'refuse calls beyond the limit (default)' },
      soft: { help: 'allow calls beyond the limit, and flag them' },
      json: jsonOption,
    },
    run: set,
  },
  {
    path: 'budget verify',
    summary:
      'recompute every counter from its rows and list differences; exit 1 when there are any',
    options: { json: jsonOption },
    run: verify,
  },
  ...budgetChangeCommands,
  reportCommand,
  unknownCommand,
  reconcileCommand,
];
