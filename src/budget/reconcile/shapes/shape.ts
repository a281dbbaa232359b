/** What a file of a provider's costs or usage says, whatever its format: amounts or counts of one UTC day each. */
import type { Amount } from '../amounts.ts';
import type { Cell } from './models.ts';
import type { ColumnNames, FileRow } from './row.ts';

/** A part of a bucket. */
export interface BucketEntry {
  readonly cell: Cell;
  /** As the file names it; null where the file does not tell models apart, or the cost is of none. */
  readonly model: string | null;
  /** `standard`, or the service tier whose price differs. */
  readonly tier: string;
  /** Null where the file has usage only. */
  readonly amount: Amount | null;
  /** Tokens, or requests of a fee. */
  readonly count: bigint | null;
}

export interface BucketRow {
  readonly day: string;
  readonly entries: readonly BucketEntry[];
  /** Why the row is not compared: a tax, another service. */
  readonly aside?: string;
  readonly asideAmount?: Amount | null;
  /** Whose usage it is, for `--project` and `--key`. */
  readonly projects: readonly string[];
  readonly keys: readonly string[];
}

export interface BucketShape {
  readonly kind: 'buckets';
  /** For messages and evidence. */
  readonly name: string;
  readonly provider: string;
  /** One name of each must be in the file. */
  readonly columns: readonly ColumnNames[];
  /** Whether fees are listed under their model. */
  readonly feesByModel: boolean;
  /** Whether service tiers are listed apart. */
  readonly tiers: boolean;
  /** Throws `bad_value`, or `other_currency`. */
  readonly read: (row: FileRow) => BucketRow;
}

/** A call in a gateway's log. */
export interface CallLine {
  readonly line: number;
  /** The id that Purser sent: the reservation's. */
  readonly clientId: string | null;
  /** The provider's. */
  readonly requestId: string | null;
  readonly amount: Amount;
  readonly inputTokens: bigint | null;
  readonly cachedTokens: bigint | null;
  readonly outputTokens: bigint | null;
  readonly at: Date | null;
}

export interface CallShape {
  readonly kind: 'calls';
  readonly name: string;
  readonly columns: readonly ColumnNames[];
  /** Throws `bad_value`. */
  readonly read: (row: FileRow) => CallLine;
}
