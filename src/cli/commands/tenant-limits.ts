/** `purser tenants set-limits`. */
import { exitCodes, UsageError } from '../../errors.ts';
import { setTenantLimitsAs } from '../../operations/tenants/limits.ts';
import type { TenantLimits } from '../../operations/tenants/limits.ts';
import { withDatabase } from '../runtime/with-database.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { actOf, actOptions } from '../terminal/operator-options.ts';

function limitsOf(invocation: Invocation): TenantLimits {
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
  const limits = limitsOf(invocation);
  const { operator, reason } = actOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    const request = { tenantId: id, limits, reason };
    const inForce = await setTenantLimitsAs(database.system, operator, request);
    invocation.print(
      `tenant ${id} now has weight ${inForce.weight}, ${limitText(inForce.maxJobs, 'jobs')} and ` +
        `${limitText(inForce.maxBytes, 'bytes')} of backlog; of LLM calls ` +
        `${limitText(inForce.callsPerMinute, 'in a minute')} and ${limitText(inForce.callsInFlight, 'in flight')}`,
    );
    return exitCodes.ok;
  });
}

const limitText = (limit: string | null, unit: string): string =>
  limit === null ? `no limit of ${unit}` : `at most ${limit} ${unit}`;

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
    ...actOptions,
  },
  run: setLimits,
};
