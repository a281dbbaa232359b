/** A reconciliation as `purser budget reconcile` prints it: sums, the drift by reason, and what needs a look. */
import { reasons } from '../../budget/reconcile/drift.ts';
import type { Applied } from '../../budget/reconcile/resolve.ts';
import type { Reconciliation } from '../../budget/reconcile/result.ts';
import { formatTable } from '../terminal/table.ts';

const maxShown = 20;
const reasonWidth = 90;

export function reconciliationPage(found: Reconciliation, applied: Applied | undefined): string {
  return [head(found), driftTable(found), buckets(found), differences(found), unknown(found)]
    .concat(appliedText(found, applied))
    .filter((part) => part !== '')
    .join('\n\n');
}

function head({ format, rows, matched, of, from, to, ...sums }: Reconciliation): string {
  const what = format === 'call-log' ? 'calls' : 'buckets';
  const range = from === null ? '' : `, ${from} to ${to}`;
  return [
    `${format}: ${rows} rows${range}; ${matched} of ${of} ${what} matched`,
    `file ${sums.fileUsd} USD, ledger ${sums.ledgerUsd} USD, drift ${sums.driftUsd} USD`,
  ].join('\n');
}

function driftTable({ drift }: Reconciliation): string {
  if (drift.length === 0) return '';
  return formatTable(
    ['reason', 'parts', 'USD', ''],
    drift.map(({ reason, count, usd }) => [reason, count, usd, reasons[reason]]),
    reasonWidth,
  );
}

/** Buckets that nothing explains. */
function buckets({ buckets: all }: Reconciliation): string {
  const differing = all.filter(({ state }) => state === 'differs');
  if (differing.length === 0) return '';
  const table = formatTable(
    ['day', 'model', 'tier', 'file', 'ledger', 'rounded by', 'reason'],
    differing
      .slice(0, maxShown)
      .map((bucket) => [
        bucket.day,
        bucket.models.join(' '),
        bucket.tier,
        bucket.fileUsd ?? '(no price)',
        bucket.ledgerUsd,
        bucket.roundingUsd,
        bucket.drift.map(({ reason, usd }) => `${reason} ${usd}`).join(', '),
      ]),
    reasonWidth,
  );
  return withRest(`${differing.length} buckets differ`, table, differing.length);
}

function differences({ differences: all }: Reconciliation): string {
  if (all.length === 0) return '';
  const table = formatTable(
    ['line', 'reservation', 'request id', 'reason', 'file', 'ledger'],
    all
      .slice(0, maxShown)
      .map((one) => [
        one.line,
        one.reservationId,
        one.requestId,
        one.reason,
        one.fileUsd,
        one.ledgerUsd,
      ]),
  );
  return withRest('calls that differ', table, all.length);
}

function unknown({ unknown: all }: Reconciliation): string {
  if (all.length === 0) return '';
  const table = formatTable(
    ['reservation', 'tenant', 'charged', 'cost from', 'to', 'open'],
    all
      .slice(0, maxShown)
      .map((one) => [
        one.reservationId,
        one.tenantId,
        one.chargedUsd,
        one.lowUsd,
        one.highUsd,
        one.open ?? 'decided',
      ]),
    reasonWidth,
  );
  return withRest(`${all.length} calls of unknown cost`, table, all.length);
}

function withRest(title: string, table: string, count: number): string {
  const rest = count > maxShown ? `\n${count - maxShown} more: --json lists them` : '';
  return `${title}\n${table}${rest}`;
}

function appliedText({ resolutions }: Reconciliation, applied: Applied | undefined): string {
  if (applied === undefined) {
    return resolutions.length === 0
      ? ''
      : `${resolutions.length} costs are decided; --apply --reason TEXT records them`;
  }
  const failed = applied.failed
    .slice(0, maxShown)
    .map(({ reservationId, why }) => `${reservationId}: ${why}`);
  return [`${applied.resolved} costs recorded`, ...failed].join('\n');
}
