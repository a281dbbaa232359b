/** `purser budget show|set`, and the commands of budget/. */
import { budgetStatus } from '../../budget/budgets.ts';
import type { BudgetStatus } from '../../budget/budgets.ts';
import { exitCodes, PurserError, UsageError } from '../../errors.ts';
import { unknownName } from '../../names.ts';
import { setBudgetAs } from '../../operations/money/budget.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { jsonOption } from '../terminal/command.ts';
import { actOf, actOptions } from '../terminal/operator-options.ts';
import { listOptions, printList } from '../terminal/cut-list.ts';
import type { ListTable } from '../terminal/cut-list.ts';
import { formatTable } from '../terminal/table.ts';
import { withDatabase } from '../runtime/with-database.ts';
import { budgetChangeCommands } from './budget/changes.ts';
import { closeCommand, verifyCommand } from './budget/books.ts';
import { reconcileCommand } from './budget/reconcile.ts';
import { reportCommand } from './budget/report.ts';
import { unknownCommand } from './budget/unknown.ts';

const table: ListTable<BudgetStatus> = {
  what: 'budgets',
  head: [
    'tenant',
    'limit',
    'top-ups',
    'kind',
    'used',
    'of which unknown',
    'reserved',
    'available',
    'own keys',
    'resets',
  ],
  cells: (budget) => [
    budget.tenantId,
    budget.monthlyLimitUsd,
    budget.topUpUsd,
    budget.hardLimit ? 'hard' : 'soft',
    budget.currentMonthUsageUsd,
    budget.unknownUsd,
    budget.reservedUsd,
    budget.availableUsd,
    budget.ownUnknownUsd === '0'
      ? budget.ownSpentUsd
      : `${budget.ownSpentUsd} + ${budget.ownUnknownUsd} unknown`,
    budget.resetsAt,
  ],
};

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
    printList(invocation, budgets, table);
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
  const { operator, reason } = actOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    const budget = await setBudgetAs(database.system, operator, {
      tenantId: invocation.required('tenant'),
      monthlyLimitUsd,
      hard: !invocation.flag('soft'),
      reason,
    });
    if (invocation.flag('json')) invocation.print(JSON.stringify(budget));
    else invocation.print(formatTable(table.head, [table.cells(budget)]));
    return exitCodes.ok;
  });
}

export const budgetCommands: readonly Command[] = [
  {
    path: 'budget show',
    summary: "list each tenant's budget of this month: limit, used, reserved and available",
    options: { tenant: { value: 'T', help: 'only this tenant' }, ...listOptions },
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
      ...actOptions,
      json: jsonOption,
    },
    run: set,
  },
  verifyCommand,
  closeCommand,
  ...budgetChangeCommands,
  reportCommand,
  unknownCommand,
  reconcileCommand,
];
