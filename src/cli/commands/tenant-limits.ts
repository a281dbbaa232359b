/** `purser tenants set-limits`. */
import { exitCodes, PurserError, UsageError } from '../../errors.ts';
import { unknownName } from '../../names.ts';
import { withDatabase } from '../runtime/with-database.ts';
import type { Command, Invocation } from '../terminal/command.ts';

interface LimitsRow {
  weight: number;
  max_backlog_jobs: string | null;
  max_backlog_bytes: string | null;
  calls_per_minute: string | null;
  calls_in_flight: string | null;
}

/** Changes only what is given; null: the plan's. */
interface Limits {
  readonly weight?: number | null;
  readonly maxJobs?: number | null;
  readonly maxBytes?: number | null;
  readonly callsPerMinute?: number | null;
  readonly callsInFlight?: number | null;
}

function limitsOf(invocation: Invocation): Limits {
  const weight = numberOption(invocation, 'weight', 1, 100, false);
  const planWeight = invocation.flag('plan-weight');
  if (planWeight && weight !== undefined) {
    throw new UsageError('--weight and --plan-weight exclude each other; give one of them');
  }
  const maxJobs = numberOption(invocation, 'max-backlog-jobs', 0, 2_147_483_647, true);
  const maxBytes = numberOption(invocation, 'max-backlog-bytes', 0, Number.MAX_SAFE_INTEGER, true);
  const callsPerMinute = numberOption(invocation, 'calls-per-minute', 0, 1_000_000, true);
  const callsInFlight = numberOption(invocation, 'calls-in-flight', 0, 1_000_000, true);
  const given = [weight, maxJobs, maxBytes, callsPerMinute, callsInFlight];
  if (!planWeight && given.every((value) => value === undefined)) {
    throw new UsageError(
      'nothing to set: give --weight N, --plan-weight, --max-backlog-jobs N|none, --max-backlog-bytes N|none, ' +
        '--calls-per-minute N|none or --calls-in-flight N|none',
    );
  }
  return {
    ...(planWeight ? { weight: null } : weight === undefined ? {} : { weight }),
    ...(maxJobs === undefined ? {} : { maxJobs }),
    ...(maxBytes === undefined ? {} : { maxBytes }),
    ...(callsPerMinute === undefined ? {} : { callsPerMinute }),
    ...(callsInFlight === undefined ? {} : { callsInFlight }),
  };
}

/** undefined where it is not given, null for `none`. */
function numberOption(
  invocation: Invocation,
  name: string,
  min: number,
  max: number,
  takesNone: boolean,
): number | null | undefined {
  const text = invocation.value(name);
  if (text === undefined) return undefined;
  if (takesNone && text === 'none') return null;
  const parsed = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (parsed >= min && parsed <= max) return parsed;
  const none = takesNone ? ', or none,' : '';
  throw new UsageError(
    `--${name} must be a whole number from ${min} to ${max}${none} not ${JSON.stringify(text)}`,
  );
}

async function setLimits(invocation: Invocation): Promise<number> {
  const id = invocation.positionals[0] ?? '';
  const { weight, maxJobs, maxBytes, callsPerMinute, callsInFlight } = limitsOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    const [row] = await database.system<LimitsRow[]>`
      update public.tenants t
      set weight = case when ${weight === undefined} then t.weight else ${weight ?? null}::integer end,
          max_backlog_jobs = case when ${maxJobs === undefined} then t.max_backlog_jobs
            else ${maxJobs ?? null}::integer end,
          max_backlog_bytes = case when ${maxBytes === undefined} then t.max_backlog_bytes
            else ${maxBytes ?? null}::bigint end,
          max_calls_per_minute = case when ${callsPerMinute === undefined} then t.max_calls_per_minute
            else ${callsPerMinute ?? null}::integer end,
          max_calls_in_flight = case when ${callsInFlight === undefined} then t.max_calls_in_flight
            else ${callsInFlight ?? null}::integer end
      where t.id = ${id}
      -- Not by a join: it would miss a tenant whose plan another command changes meanwhile.
      returning coalesce(t.weight, (select p.weight from public.plans p where p.plan = t.plan)) as weight,
        coalesce(t.max_backlog_jobs,
          (select p.max_backlog_jobs from public.plans p where p.plan = t.plan))::text as max_backlog_jobs,
        coalesce(t.max_backlog_bytes,
          (select p.max_backlog_bytes from public.plans p where p.plan = t.plan))::text as max_backlog_bytes,
        coalesce(t.max_calls_per_minute,
          (select p.max_calls_per_minute from public.plans p where p.plan = t.plan))::text as calls_per_minute,
        coalesce(t.max_calls_in_flight,
          (select p.max_calls_in_flight from public.plans p where p.plan = t.plan))::text as calls_in_flight`;
    if (row === undefined) throw new PurserError('unknown_tenant', unknownName('tenant', id));
    invocation.print(
      `tenant ${id} now has weight ${row.weight}, ${limitText(row.max_backlog_jobs, 'jobs')} and ` +
        `${limitText(row.max_backlog_bytes, 'bytes')} of backlog; of LLM calls ` +
        `${limitText(row.calls_per_minute, 'in a minute')} and ${limitText(row.calls_in_flight, 'in flight')}`,
    );
    return exitCodes.ok;
  });
}

const limitText = (limit: string | null, unit: string): string =>
  limit === null ? `no limit of ${unit}` : `at most ${limit} ${unit}`;

/** The tenant's, else the plan's; a limit of null is none. */

export const idPositional = { name: 'ID', help: "the tenant's id", required: true };

export const tenantLimitsCommand: Command = {
  path: 'tenants set-limits',
  summary: "change a tenant's weight, and how many jobs it may have enqueued and not begun",
  positionals: [idPositional],
  options: {
    weight: { value: 'N', help: '1 to 100: jobs per turn while other tenants wait' },
    'plan-weight': { help: "the plan's weight again" },
    'max-backlog-jobs': { value: 'N', help: "most jobs; none: the plan's limit, if it has one" },
    'max-backlog-bytes': {
      value: 'N',
      help: "most bytes of their payloads; none: the plan's limit, if it has one",
    },
    'calls-per-minute': {
      value: 'N',
      help: "most LLM calls in a minute; none: the plan's limit, if it has one",
    },
    'calls-in-flight': {
      value: 'N',
      help: "most LLM calls at once; none: the plan's limit, if it has one",
    },
  },
  run: setLimits,
};
