// @ts-check
// Run it:  PURSER_HANDLERS=./send-report.mjs npx purser start worker
// Try it:  PURSER_HANDLERS=./send-report.mjs npx purser enqueue send_report --tenant T --payload '{"days": 7}'

/**
 * The job's result from its rows. A pure function, so that a test needs no database.
 * @param {{ service: string, cost: string }[]} rows highest cost first
 */
export function summarise(rows) {
  return { services: rows.length, mostExpensive: rows[0]?.service ?? null };
}

/** @type {import('purser').PlainHandler<{ days?: number }>} */
export const handler = {
  type: 'send_report',
  timeoutMs: 30_000,
  maxAttempts: 3,
  // payload: any Standard Schema (zod, valibot, arktype); without one, any JSON object is accepted.
  run: async ({ payload, sql, log }) => {
    const days = payload.days ?? 30;
    /** @type {{ service: string, cost: string }[]} */
    const rows = await sql`
      select service_name as service, sum(billed_cost)::text as cost
      from cost_records where charge_period_start > now() - ${days} * interval '1 day'
      group by 1 order by sum(billed_cost) desc`;
    log.info({ services: rows.length }, 'send_report_done');
    return summarise(rows);
  },
};

export const handlers = [handler];
