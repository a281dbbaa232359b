/** The figures of a preview as they were counted when it was made: counting those of many jobs takes seconds. */
import type { Queryable } from '../../db/connect.ts';
import type { BatchFigures } from './figures.ts';

type Stored = Omit<BatchFigures, 'worstCaseNanoUsd' | 'oldestAt'> & {
  readonly worstCaseNanoUsd: string;
  readonly oldestAt: string | null;
};

export const figuresText = (figures: BatchFigures): string =>
  JSON.stringify({ ...figures, worstCaseNanoUsd: String(figures.worstCaseNanoUsd) });

/** Undefined for an unknown batch. */
export async function storedFigures(
  sql: Queryable,
  batchId: string,
): Promise<BatchFigures | undefined> {
  const [row] = await sql<{ figures: Stored }[]>`
    select figures from purser.batches where id = ${batchId} and figures <> '{}'`;
  if (row === undefined) return undefined;
  const { worstCaseNanoUsd, oldestAt, ...figures } = row.figures;
  return {
    ...figures,
    worstCaseNanoUsd: BigInt(worstCaseNanoUsd),
    oldestAt: oldestAt === null ? null : new Date(oldestAt),
  };
}
