/**
 * Compares a provider's file with the ledger: line by line where it lists calls, by buckets where it lists daily sums.
 * Reads one snapshot and changes nothing; `applyResolutions` records what it decided.
 */
import type { Sql } from '../../db/connect.ts';
import { mapStoreErrors } from '../../db/store-errors.ts';
import { PurserError, UsageError } from '../../errors.ts';
import { parseAmount } from './amounts.ts';
import { reconcileBuckets } from './buckets/reconcile.ts';
import { reconcileCalls } from './calls/reconcile.ts';
import type { Reconciliation } from './result.ts';
import { anthropicCosts, anthropicUsageReport } from './shapes/anthropic.ts';
import { callLog } from './shapes/calls.ts';
import { googleBilling } from './shapes/google.ts';
import { openAiCosts } from './shapes/openai.ts';
import type { FileRow } from './shapes/row.ts';
import type { BucketShape, CallShape } from './shapes/shape.ts';

/** A provider's file, read once, row by row. */
export interface ProviderFile {
  /** In lower case. */
  readonly columns: readonly string[];
  readonly rows: AsyncIterable<FileRow>;
  /** Of its bytes, in hex; after the last row. */
  readonly sha256: () => string;
  /** What was noticed of it, such as a page that is not the last one. */
  readonly notes: readonly string[];
}

export interface ReconcileRequest {
  readonly provider: string;
  readonly file: ProviderFile;
  /** Only rows of this project or workspace, by id or name; of buckets only. */
  readonly project?: string | undefined;
  /** Only rows of this API key, by id or name; of buckets only. */
  readonly key?: string | undefined;
  readonly from?: Date | undefined;
  readonly to?: Date | undefined;
  /** A log of calls has all that were billed between `from` and `to`. */
  readonly isComplete?: boolean | undefined;
  /** What amounts are rounded to, such as `0.01`. Default: their last decimal. */
  readonly roundingUsd?: string | undefined;
  /** Default: the database's clock. It decides which buckets are final. */
  readonly now?: Date | undefined;
}

export const reconciledProviders = ['openai', 'anthropic', 'google'] as const;

const bucketShapes: readonly BucketShape[] = [
  openAiCosts,
  anthropicUsageReport,
  anthropicCosts,
  googleBilling,
];

/** Providers add late calls to a bucket for about so long. */
const finalAfterMs = 24 * 3_600_000;

/**
 * Throws `unknown_provider`, `wrong_columns`, `bad_value`, `file_empty` and what reading the file throws; nothing is
 * compared in part.
 */
export async function reconcile(sql: Sql, request: ReconcileRequest): Promise<Reconciliation> {
  const { provider, file, from, to } = request;
  const shape = shapeOf(provider, file.columns);
  const unit = unitOfRounding(request.roundingUsd);
  if (from !== undefined && to !== undefined && from >= to) {
    throw new UsageError('the range ends before it begins: --from must be earlier than --to');
  }
  const evidence = () => `${shape.name} sha256:${file.sha256().slice(0, 32)}`;
  const result = await mapStoreErrors('reconcile', () =>
    sql.begin('isolation level repeatable read read only', async (tx) => {
      if (shape.kind === 'calls') {
        const { isComplete = false } = request;
        const options = { provider, from, to, isComplete, unit, evidence };
        return reconcileCalls(tx, file.rows, shape, options);
      }
      const [clock] = await tx<{ now: Date }[]>`select now()`;
      const now = request.now ?? clock?.now ?? new Date();
      return reconcileBuckets(tx, file.rows, shape, {
        project: request.project,
        key: request.key,
        from: from?.toISOString().slice(0, 10),
        to: to?.toISOString().slice(0, 10),
        unit,
        finalBefore: new Date(now.getTime() - finalAfterMs),
        evidence,
      });
    }),
  );
  return { ...result, notes: [...file.notes, ...result.notes] };
}

function unitOfRounding(text: string | undefined): bigint | undefined {
  if (text === undefined) return undefined;
  const amount = parseAmount(text);
  if (amount !== undefined && amount.atto > 0n) return amount.atto;
  throw new UsageError(
    `--rounding must be an amount in USD above zero, e.g. 0.01, not ${JSON.stringify(text.slice(0, 40))}`,
  );
}

const hasColumns = (columns: ReadonlySet<string>, { columns: needed }: BucketShape | CallShape) =>
  needed.every((names) => names.some((name) => columns.has(name)));

/** Throws `unknown_provider`, or `wrong_columns` naming what is missing. */
function shapeOf(provider: string, names: readonly string[]): BucketShape | CallShape {
  if (!reconciledProviders.some((name) => name === provider)) {
    throw new PurserError(
      'unknown_provider',
      `there is no provider ${JSON.stringify(provider.slice(0, 40))}; use ${reconciledProviders.join(', ')}`,
      { exitCode: 64 },
    );
  }
  const columns = new Set(names);
  const found = bucketShapes.find((shape) => hasColumns(columns, shape));
  if (found?.provider === provider) return found;
  if (hasColumns(columns, callLog)) return callLog;
  if (found !== undefined) {
    throw new PurserError(
      'wrong_columns',
      `this is a file of ${found.provider} (${found.name}); use --provider ${found.provider}`,
    );
  }
  const wanted = [...bucketShapes.filter((shape) => shape.provider === provider), callLog].map(
    (shape) =>
      `${shape.name}: ${shape.columns.map((one) => one.slice(0, 4).join(' or ')).join(', ')}`,
  );
  const first = names.slice(0, 5).map((name) => name.slice(0, 40));
  throw new PurserError(
    'wrong_columns',
    `the file begins with the columns ${first.join(', ')}, and has not those of a file of ${provider} that can be ` +
      `compared (${wanted.join('; ')})`,
  );
}
