/**
 * Resolves calls of unknown outcome by the hook of an app: starts jobs that ask it, and settles by their results. The
 * hook runs in a handler's thread under a job's deadline, so that a slow or failing one holds up nobody.
 */
import { z } from 'zod';
import type { Queryable, Sql } from '../../db/connect.ts';
import { isRowFault, lockTimeout } from '../../db/row-faults.ts';
import type { SweepStatementOptions } from '../../db/row-faults.ts';
import { mapStoreErrors } from '../../db/store-errors.ts';
import { formatUsd } from '../money.ts';
import { priceOfRow } from '../reconcile/ledger.ts';
import { billOfAnswer, lookUpAnswer, lookUpJobType } from './answer.ts';
import type { LookedUpBill } from './answer.ts';

const minuteMs = 60_000;
/** A report of the provider may still come by itself. */
const afterMs = 5 * minuteMs;
/** Then a call is settled at its hold. */
const untilMs = 48 * 60 * minuteMs;
const callsPerRound = 500;

/** Starts jobs for calls that are due. Returns the number of calls. */
export async function startLookUps(sql: Queryable, now?: Date): Promise<number> {
  const [row] = await mapStoreErrors(
    'start look-ups',
    () => sql<{ started: number }[]>`
      select purser.start_look_ups(${lookUpJobType}, ${callsPerRound},
        ${afterMs}::double precision * interval '1 millisecond',
        ${untilMs}::double precision * interval '1 millisecond', ${now ?? null}::timestamptz) as started`,
  );
  return row?.started ?? 0;
}

interface EndedRow {
  readonly reservationId: string;
  readonly jobId: string;
  readonly result: unknown;
  readonly price: unknown;
}

const results = z.object({
  answers: z.array(z.object({ reservationId: z.string(), answer: z.unknown() })),
});

/**
 * Settles by the answers of jobs that have ended; a call without an answer is due again after its pause. Returns the
 * number of settled calls. `onRowFault` is called for an answer that cannot be charged, such as one beyond any amount.
 */
export async function endLookUps(sql: Sql, { onRowFault }: SweepStatementOptions): Promise<number> {
  const ended = await mapStoreErrors(
    'read look-ups',
    () => sql<EndedRow[]>`
      select l.reservation_id as "reservationId", l.job_id as "jobId", j.result, r.price
      from llm_look_ups l
      join llm_reservations r on r.id = l.reservation_id
      left join jobs j on j.id = l.job_id
      where l.job_id is not null and (j.id is null or j.outcome is not null)
      order by l.reservation_id limit ${callsPerRound}`,
  );
  let settled = 0;
  for (const row of ended) {
    try {
      const outcome = await endLookUp(sql, row, chargeableBill(row));
      if (outcome === 'settled') settled += 1;
    } catch (error) {
      if (!isRowFault(error)) throw error;
      onRowFault?.(row.reservationId, error);
      await endLookUp(sql, row, undefined);
    }
  }
  return settled;
}

/** undefined: nothing was found, or something that the price of the call does not cover. */
function chargeableBill({ reservationId, result, price }: EndedRow): LookedUpBill | undefined {
  const { data } = results.safeParse(result);
  const given = data?.answers.find((one) => one.reservationId === reservationId);
  const answer = lookUpAnswer.safeParse(given?.answer);
  if (!answer.success) return undefined;
  const bill = billOfAnswer(answer.data, priceOfRow(price));
  return bill.uncovered.length === 0 ? bill : undefined;
}

async function endLookUp(
  sql: Queryable,
  { reservationId, jobId }: EndedRow,
  bill: LookedUpBill | undefined,
): Promise<string | undefined> {
  const [row] = await mapStoreErrors(
    'end a look-up',
    () => sql<{ outcome: string }[]>`
      with ${lockTimeout(sql)}
      select e.outcome from lock_timeout t, purser.end_look_up(
        case when t.set_config is not null then ${reservationId}::uuid end, ${jobId}::bigint,
        ${bill === undefined ? null : formatUsd(bill.costNanoUsd)}::numeric,
        ${bill === undefined ? null : JSON.stringify(bill.items)}::text::jsonb, null) e`,
  );
  return row?.outcome;
}
