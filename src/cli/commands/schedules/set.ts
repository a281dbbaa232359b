/** `purser schedules set`: the schedule of a cohort, or what differs from it for one tenant. */
import { exitCodes, UsageError } from '../../../errors.ts';
import { setScheduleAs } from '../../../operations/schedules/set.ts';
import type { ScheduleChanges } from '../../../operations/schedules/set.ts';
import { titleOf } from '../../../operations/schedules/target.ts';
import { largestMissedMost, missedPolicies } from '../../../schedules/define.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import { jsonOption } from '../../terminal/command.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { actOf, actOptions } from '../../terminal/operator-options.ts';
import { wholeNumber } from '../../terminal/parse.ts';
import { describeTiming } from './timing.ts';
import { cohortOption, targetOf, targetPositional, tenantOption } from './target.ts';

const daySeconds = 86_400;

/** Throws a usage error for a value that no schedule can have. */
function changesOf(invocation: Invocation): ScheduleChanges {
  const [cron, zone, policy] = ['cron', 'zone', 'missed'].map((name) => invocation.value(name));
  const missed = missedPolicies.find((name) => name === policy);
  if (policy !== undefined && missed === undefined) {
    throw new UsageError(`--missed must be one of ${missedPolicies.join(', ')}`);
  }
  const splay = wholeNumber(invocation, 'splay', -1, { min: 0, max: 366 * daySeconds });
  const most = wholeNumber(invocation, 'most', -1, { min: 1, max: largestMissedMost });
  return {
    ...(cron === undefined ? {} : { cron }),
    ...(zone === undefined ? {} : { zone }),
    ...(missed === undefined ? {} : { missed }),
    ...(splay === -1 ? {} : { splaySeconds: splay }),
    ...(most === -1 ? {} : { missedMost: most }),
  };
}

const sentences = {
  added: 'added',
  changed: 'changed',
  overridden: 'differs from its cohort',
  cleared: 'follows its cohort again',
} as const;

async function set(invocation: Invocation): Promise<number> {
  const target = targetOf(invocation);
  const changes = changesOf(invocation);
  const clears = invocation.flag('clear');
  if (clears && target.tenantId === undefined) {
    throw new UsageError('--clear removes what differs for one tenant: name it with --tenant T');
  }
  if (clears === Object.keys(changes).length > 0) {
    throw new UsageError(
      clears
        ? '--clear goes with no other change; set the override anew without it'
        : 'nothing to set: give --cron, --zone, --splay, --missed or --most, or --clear for a tenant',
    );
  }
  const { operator, reason } = actOf(invocation);
  return withDatabase(invocation.config(), async ({ database: { system: sql } }) => {
    const { tenantId } = target;
    const request = { target, changes, clears, reason };
    const { timing, outcome } = await setScheduleAs(sql, operator, request);
    if (invocation.flag('json')) {
      invocation.print(JSON.stringify({ ...target, tenantId: tenantId ?? null, ...timing }));
    } else {
      const now = timing === undefined ? 'its cohort has no schedule' : describeTiming(timing);
      invocation.print(`${titleOf(target)} ${sentences[outcome]}: ${now}`);
      invocation.note(
        'after a change of cron or zone the next run is the first tick that is half an interval after the last run',
      );
    }
    return exitCodes.ok;
  });
}

export const setCommand: Command = {
  path: 'schedules set',
  summary: 'set the schedule of a cohort, or what differs from it for one tenant',
  positionals: [targetPositional],
  options: {
    cohort: cohortOption,
    tenant: tenantOption,
    cron: { value: 'CRON', help: 'five fields, e.g. "0 */3 * * *"; six with seconds first' },
    zone: { value: 'ZONE', help: 'IANA zone of the expression, e.g. Europe/Berlin (default UTC)' },
    splay: {
      value: 'S',
      help: 'spread the tenants over so many seconds; smaller than the interval (default 0)',
    },
    missed: {
      value: 'P',
      help: 'ticks that no scheduler claimed in time: skip (no job), once (one for the newest; default), all (one each)',
    },
    most: { value: 'N', help: 'with --missed all: the newest N only (default 24)' },
    clear: { help: 'with --tenant: remove what differs from the cohort' },
    ...actOptions,
    json: jsonOption,
  },
  run: set,
};
