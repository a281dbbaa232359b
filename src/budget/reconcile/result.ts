/** What a reconciliation finds, whatever the file. Amounts are exact decimal USD. */
import type { BucketResult } from './buckets/compare.ts';
import type { DriftPart, Reason } from './drift.ts';

/** A call whose cost was unknown, and what the file tells of it. */
export interface UnknownCost {
  readonly reservationId: string;
  readonly tenantId: string;
  /** What stays charged until it is resolved. */
  readonly chargedUsd: string;
  readonly lowUsd: string;
  readonly highUsd: string;
  /** Why it is not decided; undefined where it is. */
  readonly open?: string | undefined;
}

/** A decided cost, which `--apply` records. */
export interface Resolution {
  readonly reservationId: string;
  readonly tenantId: string;
  readonly chargedUsd: string;
  readonly costNanoUsd: bigint;
  /** Where it stands: unique per file and call. */
  readonly evidence: string;
}

/** A call that differs. */
export interface CallDifference {
  readonly line: number | null;
  readonly reservationId: string | null;
  readonly requestId: string | null;
  readonly reason: Reason;
  readonly fileUsd: string;
  readonly ledgerUsd: string;
}

export interface Reconciliation {
  /** `openai-costs`, `call-log`, ... */
  readonly format: string;
  readonly rows: number;
  /** Calls that were found in both, or buckets that are explained, of so many. */
  readonly matched: number;
  readonly of: number;
  /** First and last UTC day, or the range in which calls are expected; null where the file has no times. */
  readonly from: string | null;
  readonly to: string | null;
  readonly fileUsd: string;
  readonly ledgerUsd: string;
  /** The file's sum less the ledger's. */
  readonly driftUsd: string;
  readonly drift: readonly DriftPart[];
  readonly buckets: readonly BucketResult[];
  /** The first `maxListed` of them. */
  readonly differences: readonly CallDifference[];
  readonly unknown: readonly UnknownCost[];
  readonly resolutions: readonly Resolution[];
  readonly notes: readonly string[];
}

export const maxListed = 1_000;
