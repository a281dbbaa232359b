/** Wrong implementations: functions of the database with one fault each, which the proofs of money have to find. */
import type { Sql } from '../../../src/db/connect.ts';

export interface Mutant {
  /** What it does wrong. */
  readonly name: string;
  readonly function: string;
  /** Texts of the function, and what stands there instead, wherever they occur. */
  readonly changes: readonly (readonly [from: string, to: string])[];
}

/** Installs the mutant. The function that it returns puts the right one back. */
export async function install(sql: Sql, mutant: Mutant): Promise<() => Promise<void>> {
  const [row] = await sql<{ text: string }[]>`
    select pg_get_functiondef(p.oid) as text from pg_proc p
    where p.proname = ${mutant.function} and p.pronamespace = 'purser'::regnamespace`;
  const right = row?.text ?? '';
  let wrong = right;
  for (const [from, to] of mutant.changes) {
    if (!wrong.includes(from)) {
      throw new Error(
        `purser.${mutant.function} has no "${from}": mend the mutant "${mutant.name}"`,
      );
    }
    wrong = wrong.replaceAll(from, to);
  }
  await sql.unsafe(wrong);
  return async () => void (await sql.unsafe(right));
}

const releaseAtExpiry: Mutant = {
  name: 'a hold that expires after its request was sent is released',
  function: 'budget_close',
  changes: [["case when r.sent_at is null then 'RELEASED' else 'UNKNOWN' end", "'RELEASED'"]],
};
const settleTwice: Mutant = {
  name: 'a settlement that is repeated is charged again',
  function: 'budget_settle',
  changes: [
    ["v_hold.status = 'APPLIED'", 'false'],
    [
      'p_uncovered, v_now\n  from jsonb_to_recordset(p_items) i (class text, count bigint, usd numeric, per integer);',
      'p_uncovered, v_now\n  from jsonb_to_recordset(p_items) i (class text, count bigint, usd numeric, per integer) on conflict do nothing;',
    ],
    [
      'else 1 end\n  from jsonb_to_recordset(p_items) i (class text, count bigint, usd numeric, per integer);',
      'else 1 end\n  from jsonb_to_recordset(p_items) i (class text, count bigint, usd numeric, per integer) on conflict do nothing;',
    ],
  ],
};

/** Found by one client alone. */
export const sequentialMutants: readonly Mutant[] = [
  releaseAtExpiry,
  settleTwice,
  {
    name: 'a hold that fits to the last nano-dollar is refused',
    function: 'budget_reserve',
    changes: [['+ p_hold_usd > limit_usd', '+ p_hold_usd >= limit_usd']],
  },
  {
    name: 'a hold may exceed the limit by a nano-dollar',
    function: 'budget_reserve',
    changes: [['+ p_hold_usd > limit_usd', '+ p_hold_usd > limit_usd + 0.000000001']],
  },
  {
    name: 'unknown money is not counted against the limit',
    function: 'budget_reserve',
    changes: [['p.spent_usd + p.unknown_usd, p.reserved_usd', 'p.spent_usd, p.reserved_usd']],
  },
  {
    name: 'the month is that of another time zone',
    function: 'budget_reserve',
    changes: [["v_now at time zone 'UTC'", "v_now at time zone 'America/New_York'"]],
  },
  {
    name: 'a late settlement is charged to the month in which it arrives',
    function: 'budget_settle',
    changes: [
      [
        'p.period_start = v_hold.period_start',
        "p.period_start = date_trunc('month', v_now at time zone 'UTC')::date",
      ],
    ],
  },
  {
    name: 'a settlement leaves what was unknown',
    function: 'budget_settle',
    changes: [['unknown_usd = p.unknown_usd - v_unknown', 'unknown_usd = p.unknown_usd']],
  },
  {
    name: 'cost beyond the hold is dropped',
    function: 'budget_settle',
    changes: [['p.spent_usd + p_cost_usd', 'p.spent_usd + least(p_cost_usd, hold_usd)']],
  },
  {
    name: 'another bill for a settled reservation is taken for the first one',
    function: 'budget_settle',
    changes: [["when v_same then 'replayed' else 'conflict'", "when true then 'replayed'"]],
  },
  {
    name: 'a key stands for any hold of its model',
    function: 'find_reservation',
    changes: [
      ['r.estimated_cost_usd, r.provider', 'r.provider'],
      ['p_hold_usd, p_provider', 'p_provider'],
    ],
  },
];

const ofPeriod = 'where p.budget_id = v_budget_id and p.period_start = budget_reserve.period_start';

/** Found by clients that race, time out and die. */
export const stormMutants: readonly Mutant[] = [
  releaseAtExpiry,
  settleTwice,
  {
    name: 'reserve does not lock its period',
    function: 'budget_reserve',
    changes: [[`${ofPeriod}\n  for no key update;`, `${ofPeriod};`]],
  },
  {
    name: 'reserve decides by a limit that it read before it had the lock',
    function: 'budget_reserve',
    changes: [
      [
        'select b.monthly_limit_usd, b.hard_limit, p.spent_usd + p.unknown_usd, p.reserved_usd\n  into limit_usd, v_hard, used_usd,',
        'select p.spent_usd + p.unknown_usd, p.reserved_usd\n  into used_usd,',
      ],
    ],
  },
  {
    name: 'an expiry ends what was settled while it waited',
    function: 'budget_close',
    changes: [["where r.id = any (p_ids) and r.status = 'RESERVED'", 'where r.id = any (p_ids)']],
  },
  {
    name: 'an expiry does not lock what it ends',
    function: 'budget_close',
    changes: [['order by r.id for no key update', 'order by r.id']],
  },
  {
    name: 'a settlement does not lock its reservation',
    function: 'budget_settle',
    changes: [['where r.id = p_reservation_id for no key update', 'where r.id = p_reservation_id']],
  },
];
