/** What an enqueue runs on: the caller's own connection, on either driver. */

/**
 * postgres.js prepares the statement, which saves a round trip, unless the pool was made with `prepare: false`. But it
 * would then send the next statement behind it on the same connection, where that one waits for its locks: `onexecute`,
 * by which the driver's own transactions keep a connection for themselves, prevents it.
 */
const statementOptions = { prepare: true, onexecute: () => false };

/** A postgres.js pool or transaction, or a `pg` pool or client: whatever the caller's transaction runs on. */
export type Connection =
  | {
      unsafe(
        text: string,
        parameters: (string | number | null)[],
        options: typeof statementOptions,
      ): PromiseLike<readonly object[]>;
    }
  | { query(text: string, values: unknown[]): Promise<{ rows: object[] }> };

/** Runs a statement on either driver. */
export async function runOn<R extends object>(
  connection: Connection,
  text: string,
  parameters: (string | number | null)[],
): Promise<R[]> {
  const rows: readonly object[] =
    'unsafe' in connection
      ? await connection.unsafe(text, parameters, statementOptions)
      : (await connection.query(text, parameters)).rows;
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  return [...rows] as R[];
}
