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

const emptyScope: Mutant = {
  name: 'a new scope begins with nothing',
  function: 'set_scope',
  changes: [['perform purser.fill_scope(scope_id, v_now);', 'null;']],
};
const monthOnly: Mutant = {
  name: 'only the month is asked whether a call fits',
  function: 'choose_rung',
  changes: [['where n.binds', 'where n.binds and false']],
};

/** Found by one client alone. */
export const sequentialMutants: readonly Mutant[] = [
  releaseAtExpiry,
  settleTwice,
  {
    name: 'a hold that fits to the last nano-dollar is refused',
    function: 'budget_reserve',
    changes: [
      ['+ v_choice.hold_usd > v_choice.limit_usd', '+ v_choice.hold_usd >= v_choice.limit_usd'],
    ],
  },
  {
    name: 'a hold may exceed the limit by a nano-dollar',
    function: 'budget_reserve',
    changes: [
      [
        '+ v_choice.hold_usd > v_choice.limit_usd',
        '+ v_choice.hold_usd > v_choice.limit_usd + 0.000000001',
      ],
    ],
  },
  {
    name: 'unknown money is not counted against the limit',
    function: 'budget_reserve',
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
    changes: [['outcome := case when v_same or', 'outcome := case when true or']],
  },
  {
    name: 'a key stands for any hold of its model',
    function: 'find_reservation',
    changes: [["when r.request_digest = p_digest then 'replayed'", "when true then 'replayed'"]],
  },
  emptyScope,
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
    name: 'what an own key spends is charged to the month',
    function: 'move_money',
    changes: [['v_apart integer := p_hold.counts_apart::integer', 'v_apart integer := 0']],
  },
  {
    name: 'an own key that counts apart is refused by the month',
    function: 'budget_reserve',
    changes: [['case when not v_apart then', 'case when true then']],
  },
  {
    name: 'an own key that counts against the budget counts apart',
    function: 'budget_reserve',
    changes: [['select not k.counts_against_budget', 'select true']],
  },
  {
    name: 'scopes of the platform count an own key',
    function: 'scopes_of_rungs',
    changes: [["where not r.rung ? 'counts_apart'", 'where true']],
  },
  {
    name: 'a new scope of the platform counts the calls of an own key',
    function: 'fill_scope',
    changes: [['and purser.scope_counts(v_scope.kind, r.counts_apart)', '']],
  },
  monthOnly,
];

const ofPeriod = 'where p.budget_id = v_at.budget_id and p.period_start = v_month';

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
    changes: [['    v_is_locked := true;', '    exit;']],
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
  monthOnly,
  emptyScope,
];
