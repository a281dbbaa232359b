/** Calls of unknown outcome in a file's database, and the jobs that look them up. */
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import { lookUpJobType } from '../../../src/budget/look-up/answer.ts';
import { markSent } from '../../../src/budget/reserve.ts';
import { markUnknown } from '../../../src/budget/settle.ts';
import { connect } from '../../../src/db/connect.ts';
import type { Sql } from '../../../src/db/connect.ts';
import type { JobContext } from '../../../src/handlers/define.ts';
import { toJobType } from '../../../src/handlers/job-types.ts';
import { usageLookUp } from '../../../src/handlers/usage-look-up.ts';
import type { LookUpUsage } from '../../../src/handlers/usage-look-up.ts';
import { registerJobTypes } from '../../../src/jobs/registration.ts';
import { begin, claim, completed, finish } from '../../jobs/job-steps.ts';
import { collectingLog } from '../../support/collecting-log.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { reserve } from '../../support/holds.ts';
import { assertBooksRight } from '../../support/ledger.ts';
import { removeTenants, startAttempt } from '../../support/tenants.ts';

const minutesAgo = (minutes: number): Date => new Date(Date.now() - minutes * 60_000);
export const inMinutes = (minutes: number): Date => minutesAgo(-minutes);

/** Ids that a part of the sweep could not handle. */
export const faults = (): { ids: string[]; each: { onRowFault: (id: string) => void } } => {
  const ids: string[] = [];
  return { ids, each: { onRowFault: (id) => ids.push(id) } };
};

export function useUnknownCalls() {
  let database: TestDatabase;
  let sql: Sql;
  let wide: Sql;
  beforeAll(async () => {
    database = await freshDatabase();
    ({ sql } = database);
    wide = connect(database.url, { max: 4, applicationName: 'purser test schedulers' });
    await registerJobTypes(sql, [toJobType(usageLookUp(() => Promise.resolve(undefined)))]);
  });
  beforeEach(async () => {
    await sql`
      insert into heartbeats (process_id, role, version, hostname, pid, job_types)
      values ('w', 'worker', '1', 'h', 1, array[${lookUpJobType}])`;
  });
  afterEach(async () => {
    await sql`delete from heartbeats`;
    await assertBooksRight(sql);
    await removeTenants(sql);
  });
  afterAll(async () => {
    await wide.end({ timeout: 5 });
    await database.close();
  });

  /** A sent call of $1 at $1 per million tokens that has been unknown for so long. */
  async function unknownCall(tenantId: string, minutes = 6, requestId?: string): Promise<string> {
    const attempt = await startAttempt(sql, tenantId);
    const hold = await reserve(sql, attempt, '1', { provider: 'openai' });
    await markSent(sql, hold);
    const { reservationId } = hold;
    await markUnknown(sql, { reservationId, requestId, now: minutesAgo(minutes) });
    return reservationId;
  }

  /** What a worker does: runs the waiting jobs with this hook. Returns what was logged. */
  async function work(hook: LookUpUsage, withinMs?: number): Promise<string> {
    const { log, lines } = collectingLog();
    const handler = usageLookUp(hook, withinMs);
    for (const job of await claim(sql, 100, lookUpJobType)) {
      const attempt = await begin(sql, job);
      const { tenantId } = attempt;
      const signal = new AbortController().signal;
      const payload: unknown =
        typeof attempt.payload === 'string' ? JSON.parse(attempt.payload) : attempt.payload;
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what the handler uses of it
      const context = { tenantId, payload, signal, log } as unknown as JobContext<unknown>;
      await finish(sql, attempt, { ...completed, result: await handler.run(context) });
    }
    return lines.map((line) => JSON.stringify(line)).join('\n');
  }

  const stateOf = async (reservationId: string): Promise<string> => {
    const [row] = await sql<{ state: string }[]>`
      select r.status || coalesce(' ' || trim_scale(u.cost_usd), '') as state
      from llm_reservations r left join llm_usage u on u.reservation_id = r.id where r.id = ${reservationId}`;
    return row?.state ?? '';
  };

  return {
    get sql() {
      return sql;
    },
    /** Of several connections. */
    get wide() {
      return wide;
    },
    unknownCall,
    work,
    stateOf,
  };
}
