/**
 * Statements over many rows that one row can make fail: they run again over halves, so that only the rows at fault are
 * left out. Statements of the system never wait for a lock without a limit.
 */
import { codeOf } from '../errors.ts';
import type { Queryable } from './connect.ts';

/** A CTE that gives its statement and the rest of its transaction a lock timeout; 55P03 after it. */
export const lockTimeout = (sql: Queryable, ms = 2_000) =>
  sql`lock_timeout as materialized (select set_config('lock_timeout', ${String(ms)}, true))`;

/** Data exceptions, constraints, errors of triggers and functions, and lock timeouts. */
const rowFault = /^(22|23|P0|PU|55P03$)/;

export const isRowFault = (error: unknown): boolean => rowFault.test(codeOf(error));

/** After so many rows at fault the rest is left to the next round: what fails may be no single row. */
const maxFaults = 10;

export type OnRowFault = (id: string, error: unknown) => void;

/** What every statement of the sweep takes. */
export interface SweepStatementOptions {
  /** Added to the database's time. Default 0. */
  readonly offsetMs?: number;
  /** Called with the id of a row that cannot be changed. Default: the error is thrown. */
  readonly onRowFault?: OnRowFault | undefined;
}

interface BatchStatement {
  /** Runs the statement over all rows that are due, or over those of `ids`. Returns the number of changed rows. */
  readonly run: (ids?: readonly string[]) => Promise<number>;
  /** Ids of the rows that are due; asked for only after a failure. */
  readonly list: () => Promise<readonly string[]>;
  /** Called for each row at fault. Default: the error is thrown. */
  readonly onRowFault?: OnRowFault | undefined;
}

/** Runs a statement over all rows that are due; if a row makes it fail, over halves of them. Other errors are thrown. */
export async function runBatch({ run, list, onRowFault }: BatchStatement): Promise<number> {
  try {
    return await run();
  } catch (error) {
    if (onRowFault === undefined || !isRowFault(error)) throw error;
    return runInHalves(await list(), run, onRowFault);
  }
}

async function runInHalves(
  ids: readonly string[],
  run: (ids: readonly string[]) => Promise<number>,
  onFault: OnRowFault,
): Promise<number> {
  let faults = 0;
  const attempt = async (part: readonly string[]): Promise<number> => {
    if (part.length === 0 || faults >= maxFaults) return 0;
    try {
      return await run(part);
    } catch (error) {
      if (!isRowFault(error)) throw error;
      const [only] = part;
      if (part.length === 1 && only !== undefined) {
        faults += 1;
        onFault(only, error);
        return 0;
      }
      const middle = Math.ceil(part.length / 2);
      return (await attempt(part.slice(0, middle))) + (await attempt(part.slice(middle)));
    }
  };
  return attempt(ids);
}
