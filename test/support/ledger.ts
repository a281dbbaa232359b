/** Every test that moves money ends by recomputing all of it. */
import { verifyBudgets } from '../../src/budget/verify.ts';
import type { Sql } from '../../src/db/connect.ts';

export async function assertBooksRight(sql: Sql): Promise<void> {
  const { differences } = await verifyBudgets(sql);
  if (differences.length === 0) return;
  throw new Error(`the books are wrong: ${JSON.stringify(differences, undefined, 2)}`);
}
