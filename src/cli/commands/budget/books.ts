/** `purser budget verify|close`. */
import { verifyBudgets } from '../../../budget/verify.ts';
import type { BudgetVerification } from '../../../budget/verify.ts';
import { exitCodes } from '../../../errors.ts';
import { closeMonthAs } from '../../../operations/money/budget.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { jsonOption } from '../../terminal/command.ts';
import { actOf, actOptions } from '../../terminal/operator-options.ts';
import { formatTable } from '../../terminal/table.ts';

const listedAtMost = 50;

function figuresOf(found: BudgetVerification): string {
  const overspend = found.overspends === 0 ? '0' : `${found.overspends} ($${found.overspentUsd})`;
  return [
    `overspend ${overspend}, leaked holds ${found.leakedHolds}, lost usage ${found.lostUsage}, ` +
      `ledger = counters: ${found.differences.length === 0 ? 'yes' : 'no'}`,
    `${found.admissions} admissions judged by the limits of their time, ${found.beyondSoftLimits} of them above a soft limit`,
    `${found.periods} months of budgets, ${found.checkpointed} of them from their checkpoint, and ` +
      `${found.reservations} reservations recomputed: ${found.differences.length === 0 ? 'no difference' : `${found.differences.length} differences`}; ` +
      `$${found.overageUsd} were billed beyond the holds`,
  ].join('\n');
}

async function verify(invocation: Invocation): Promise<number> {
  return withDatabase(invocation.config(), async ({ database }) => {
    const found = await verifyBudgets(database.system, { full: invocation.flag('full') });
    const wrong = [...found.faults, ...found.differences];
    if (invocation.flag('json')) invocation.print(JSON.stringify(found));
    else {
      invocation.print(figuresOf(found));
      if (wrong.length > 0) {
        invocation.print(
          formatTable(
            ['tenant', 'period', 'what', 'stored', 'recomputed'],
            wrong
              .slice(0, listedAtMost)
              .map((row) => [row.tenantId, row.periodStart, row.name, row.stored, row.recomputed]),
          ),
        );
      }
      if (wrong.length > listedAtMost) {
        invocation.print(`and ${wrong.length - listedAtMost} more; --json lists all`);
      }
    }
    const faults = found.overspends + found.leakedHolds + found.lostUsage;
    return faults + found.differences.length === 0 ? exitCodes.ok : exitCodes.failed;
  });
}

async function close(invocation: Invocation): Promise<number> {
  const month = invocation.required('month');
  const { operator, reason } = actOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    const closed = await closeMonthAs(database.system, operator, { month, reason });
    invocation.print(
      invocation.flag('json')
        ? JSON.stringify(closed)
        : `${closed.closed} budgets were closed for ${month}` +
            (closed.open === 0
              ? ''
              : `; ${closed.open} stay open: a hold has not ended, or a call is just being settled. The scheduler ends holds; then run it again`),
    );
    return exitCodes.ok;
  });
}

export const verifyCommand: Command = {
  path: 'budget verify',
  summary:
    'recompute overspend, leaked holds, lost usage and every counter; exit 1 naming what is wrong',
  options: {
    full: { help: 'read closed months too, and compare their checkpoints' },
    json: jsonOption,
  },
  run: verify,
};

export const closeCommand: Command = {
  path: 'budget close',
  summary: 'close a month that has ended by checkpoints, without waiting for the scheduler',
  options: {
    month: { value: 'YYYY-MM', help: 'the month (UTC)', required: true },
    ...actOptions,
    json: jsonOption,
  },
  run: close,
};
