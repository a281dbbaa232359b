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
  changes: [["case when v_hold.sent_at is null then 'RELEASED' else 'UNKNOWN' end", "'RELEASED'"]],
};
const settleTwice: Mutant = {
  name: 'a settlement that is repeated is charged again',
  function: 'budget_settle',
  changes: [["if v_hold.status = 'APPLIED'", 'if false']],
};

/** Found by one client alone. */
export const sequentialMutants: readonly Mutant[] = [
  releaseAtExpiry,
  settleTwice,
  {
    name: 'a hold that fits to the last nano-dollar is refused',
    function: 'choose_rung',
    changes: [
      ['+ v_choice.hold_usd > v_choice.limit_usd', '+ v_choice.hold_usd >= v_choice.limit_usd'],
    ],
  },
  {
    name: 'a hold may exceed the limit by a nano-dollar',
    function: 'choose_rung',
    changes: [
      [
        '+ v_choice.hold_usd > v_choice.limit_usd',
        '+ v_choice.hold_usd > v_choice.limit_usd + 0.000000001',
      ],
    ],
  },
  {
    name: 'unknown money is not counted against the limit',
    function: 'choose_rung',
    changes: [['p.spent_usd + p.unknown_usd', 'p.spent_usd']],
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
        'hold_usd := v_hold.estimated_cost_usd;',
        "hold_usd := v_hold.estimated_cost_usd; v_hold.period_start := date_trunc('month', v_now at time zone 'UTC');",
      ],
    ],
  },
  {
    name: 'a settlement leaves what was unknown',
    function: 'budget_settle',
    changes: [['p_cost_usd, -v_unknown,', 'p_cost_usd, 0,']],
  },
  {
    name: 'cost beyond the hold is dropped',
    function: 'move_money',
    changes: [['p.spent_usd + p_spent', 'p.spent_usd + least(p_spent, p_hold.estimated_cost_usd)']],
  },
  {
    name: 'another bill for a settled reservation is taken for the first one',
    function: 'budget_settle',
    changes: [["when v_same then 'replayed' else 'conflict'", "when true then 'replayed'"]],
  },
  {
    name: 'a key stands for any hold of its model',
    function: 'find_reservation',
    changes: [["when r.request_digest = p_digest then 'replayed'", "when true then 'replayed'"]],
  },
  {
    name: 'a new scope begins with nothing',
    function: 'set_scope',
    changes: [['perform purser.fill_scope(scope_id, v_now);', 'null;']],
  },
  {
    name: 'a scope keeps a call that was released',
    function: 'move_money',
    changes: [['calls = p.calls + p_calls', 'calls = p.calls + greatest(p_calls, 0)']],
  },
  {
    name: 'a settlement is not charged to the scopes of its call',
    function: 'move_money',
    changes: [
      [
        'p.id = any (v_scope_period_ids);',
        "p.id = any (v_scope_period_ids) and p_event <> 'settle';",
      ],
    ],
  },
  {
    name: 'the days of a scope are those of another time zone',
    function: 'local_period',
    changes: [['p_at at time zone p_time_zone', "p_at at time zone 'UTC'"]],
  },
  {
    name: 'only the month is asked whether a call fits',
    function: 'choose_rung',
    changes: [['where n.binds', 'where n.binds and false']],
  },
];

const ofPeriod = 'where p.budget_id = v_budget_id and p.period_start = v_month';

/** Found by clients that race, time out and die. */
export const stormMutants: readonly Mutant[] = [
  releaseAtExpiry,
  settleTwice,
  {
    name: 'reserve does not lock its period',
    function: 'budget_reserve',
    changes: [[`${ofPeriod} for no key update;`, `${ofPeriod};`]],
  },
  {
    name: 'reserve decides by a limit that it read before it had the lock',
    function: 'budget_reserve',
    changes: [['    v_choice := purser.choose_rung(', '    perform purser.choose_rung(']],
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
