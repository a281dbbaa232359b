/** `purser budget reconcile`: compares a provider's file with the ledger, and records the costs that it decides. */
import { reconcile, reconciledProviders } from '../../../budget/reconcile/reconcile.ts';
import type { Applied } from '../../../budget/reconcile/resolve.ts';
import type { Reconciliation } from '../../../budget/reconcile/result.ts';
import { parseTime } from '../../../budget/reconcile/shapes/row.ts';
import { exitCodes, UsageError } from '../../../errors.ts';
import { reconcileAs } from '../../../operations/money/costs.ts';
import { reconciliationPage } from '../../reports/reconciliation.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import { jsonOption } from '../../terminal/command.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { inputFile } from '../../terminal/input-file.ts';
import { actOptions, reasonedActOf } from '../../terminal/operator-options.ts';
import { openProviderFile } from './provider-file.ts';

function timeOf(invocation: Invocation, option: string): Date | undefined {
  const text = invocation.value(option);
  if (text === undefined) return undefined;
  const time = parseTime(text);
  if (time !== undefined) return time;
  throw new UsageError(
    `--${option} must be a day or a time of UTC, e.g. 2026-11-01, not ${JSON.stringify(text.slice(0, 40))}`,
  );
}

async function run(invocation: Invocation): Promise<number> {
  const isApplied = invocation.flag('apply');
  if (isApplied && invocation.value('reason') === undefined) {
    throw new UsageError('--apply needs --reason TEXT, which is recorded with every cost');
  }
  const act = isApplied ? reasonedActOf(invocation) : undefined;
  const [from, to] = [timeOf(invocation, 'from'), timeOf(invocation, 'to')];
  const path = await inputFile(invocation.required('file'), { option: '--file' });
  const config = invocation.config();
  const file = await openProviderFile(path);
  try {
    return await withDatabase(config, async ({ database: { system: sql } }) => {
      const found = await reconcile(sql, {
        provider: invocation.required('provider'),
        file,
        from,
        to,
        project: invocation.value('project'),
        key: invocation.value('key'),
        isComplete: invocation.flag('complete'),
        roundingUsd: invocation.value('rounding'),
      });
      const applied =
        act === undefined
          ? undefined
          : await reconcileAs(sql, act.operator, {
              decisions: found.resolutions,
              reason: act.reason,
            });
      if (invocation.flag('json')) invocation.print(jsonOf(found, applied));
      else invocation.print(reconciliationPage(found, applied));
      for (const note of found.notes) invocation.note(note);
      return needsLook(found, applied) ? exitCodes.failed : exitCodes.ok;
    });
  } finally {
    await file.close();
  }
}

const nanoDigits = (_: string, value: unknown): unknown =>
  typeof value === 'bigint' ? value.toString() : value;

const jsonOf = (found: Reconciliation, applied: Applied | undefined): string =>
  JSON.stringify({ ...found, applied: applied ?? null }, nanoDigits);

/** Whether anything but rounding is left that the file and the ledger do not agree on. */
function needsLook(found: Reconciliation, applied: Applied | undefined): boolean {
  const decided = new Set(found.resolutions.map(({ reservationId }) => reservationId));
  const failed = new Set(applied?.failed.map(({ reservationId }) => reservationId));
  const isLeft = found.unknown.some(
    ({ reservationId }) =>
      applied === undefined || !decided.has(reservationId) || failed.has(reservationId),
  );
  const others = found.drift.filter(
    ({ reason }) => !['rounding', 'unknown_hold', 'other_day'].includes(reason),
  );
  // What was released and billed is settled with the unknown ones.
  const isOpen = others.some(
    ({ reason }) => applied === undefined || reason !== 'released_but_billed',
  );
  return isLeft || isOpen || found.buckets.some(({ state }) => state === 'differs');
}

export const reconcileCommand: Command = {
  path: 'budget reconcile',
  summary:
    "compare a provider's costs, usage or log of calls with the ledger; exit 1 where more than rounding differs",
  options: {
    provider: { value: 'NAME', help: reconciledProviders.join(', '), required: true },
    file: {
      value: 'FILE',
      help: "the provider's export or a gateway's log: CSV, JSON or JSON lines, plain or gzip",
      required: true,
    },
    from: { value: 'TIME', help: 'only from this day on (UTC); of a log: calls sent from then on' },
    to: { value: 'TIME', help: 'only before this day (UTC)' },
    project: { value: 'NAME', help: 'only rows of this project or workspace' },
    key: { value: 'NAME', help: 'only rows of this API key' },
    rounding: {
      value: 'USD',
      help: "what the file's amounts are rounded to (default: its decimals)",
    },
    complete: {
      help: 'the log has every billed call of its range: one that it lacks cost nothing',
    },
    apply: { help: 'record the cost of each unknown call that the file decides' },
    ...actOptions,
    json: jsonOption,
  },
  run,
};
