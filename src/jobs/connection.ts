/** What an enqueue runs on: the caller's own connection, on either driver. */

/** A postgres.js pool or transaction, or a `pg` pool or client: whatever the caller's transaction runs on. */
export type Connection =
  | {
      unsafe(
        text: string,
        parameters: (string | number | null)[],
        options: { prepare: boolean },
      ): PromiseLike<readonly object[]>;
    }
  | { query(text: string, values: unknown[]): Promise<{ rows: object[] }> };

/**
 * Runs a statement on either driver. postgres.js prepares it, which saves a round trip, unless the pool was made with
 * `prepare: false`.
 */
export async function runOn<R extends object>(
  connection: Connection,
  text: string,
  parameters: (string | number | null)[],
): Promise<R[]> {
  const rows: readonly object[] =
    'unsafe' in connection
      ? await connection.unsafe(text, parameters, { prepare: true })
      : (await connection.query(text, parameters)).rows;
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  return [...rows] as R[];
}
