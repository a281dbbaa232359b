/** Reads of a page that a person waits for: one snapshot, planned for its own filter, and with a count only where that is quick. */
import type { Sql, Tx } from '../../db/connect.ts';
import { codeOf } from '../../errors.ts';

const canceled = '57014';
const countMs = 60;

/**
 * A statement that is prepared once for every filter gets a plan for none: with a rare code, or a short time, it then
 * reads a million rows instead of fifty.
 */
export async function readPage<T>(sql: Sql, read: (tx: Tx) => Promise<T>): Promise<T> {
  const answer = await sql.begin('isolation level repeatable read read only', async (tx) => {
    await tx`
      select set_config('plan_cache_mode', 'force_custom_plan', true), set_config('work_mem', '32MB', true),
        set_config('jit', 'off', true)`;
    return { value: await read(tx) };
  });
  return answer.value;
}

/** undefined: it takes longer than a page may wait for it. */
export async function quickCount(
  tx: Tx,
  count: (tx: Tx) => Promise<number>,
  withinMs = countMs,
): Promise<number | undefined> {
  try {
    const counted = await tx.savepoint(async (part) => {
      await part`select set_config('statement_timeout', ${String(withinMs)}, true)`;
      const value = await count(part);
      await part`select set_config('statement_timeout', '0', true)`;
      return { value };
    });
    return counted.value;
  } catch (error) {
    if (codeOf(error) === canceled) return undefined;
    throw error;
  }
}
