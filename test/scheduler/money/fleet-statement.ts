/** A statement that a fleet runs by itself. */
import type { Sql } from '../../../src/db/connect.ts';
import type { QueueBackend } from '../../../src/queues/backend.ts';
import type { Arranged } from '../arranged-tenant.ts';

export interface FleetStatement {
  readonly name: string;
  /** Entries of `systemStatements` that it runs. */
  readonly covers: readonly string[];
  /** Does its work for `all`; resolves to whether it was done for `free`, whose rows nobody holds. */
  readonly run: (
    sql: Sql,
    all: readonly Arranged[],
    free: Arranged,
    backend: Pick<QueueBackend, 'ping'>,
  ) => Promise<boolean>;
}

/** Waits for the free tenant's answer only: the other's may be refused when its row stays locked. */
export async function answerFor<T>(
  free: Arranged,
  answers: readonly (readonly [Arranged, Promise<T>])[],
): Promise<boolean> {
  for (const [, answer] of answers) answer.catch(() => {});
  await answers.find(([owner]) => owner === free)?.[1];
  return true;
}
