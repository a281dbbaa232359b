/** `purser llm stop|resume|stops`: keeps LLM calls from being made, of a tenant, a provider or a model. */
import { listStops } from '../../../budget/stops.ts';
import type { StopTarget } from '../../../budget/stops.ts';
import { exitCodes, UsageError } from '../../../errors.ts';
import { resumeCallsAs, stopCallsAs } from '../../../operations/money/calls.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { jsonOption } from '../../terminal/command.ts';
import {
  actOf,
  actOptions,
  byOption,
  reasonOption,
  reasonedActOf,
} from '../../terminal/operator-options.ts';
import { listOptions, printList } from '../../terminal/cut-list.ts';

/** As calls name them. */
export const providers: readonly string[] = ['openai', 'anthropic', 'google'];

function targetOf(invocation: Invocation): StopTarget {
  const target = {
    tenantId: invocation.value('tenant'),
    provider: invocation.value('provider'),
    model: invocation.value('model'),
  };
  if (Object.values(target).every((value) => value === undefined)) {
    throw new UsageError('name what is stopped: --tenant T, --provider P, --model M, or several');
  }
  if (target.tenantId === '') throw new UsageError('--tenant must name a tenant');
  if (target.provider !== undefined && !providers.includes(target.provider)) {
    throw new UsageError(
      `--provider must be one of ${providers.join(', ')}, not ${JSON.stringify(target.provider)}`,
    );
  }
  return target;
}

const titleOf = ({ tenantId, provider, model }: StopTarget): string =>
  [
    'calls',
    ...(model === undefined ? [] : [`of model ${model}`]),
    ...(provider === undefined ? [] : [`at ${provider}`]),
    ...(tenantId === undefined ? [] : [`for tenant ${tenantId}`]),
  ].join(' ');

async function stop(invocation: Invocation): Promise<number> {
  const target = targetOf(invocation);
  const { operator, reason } = reasonedActOf(invocation);
  const aborts = invocation.flag('abort');
  return withDatabase(invocation.config(), async ({ database }) => {
    await stopCallsAs(database.system, operator, { ...target, aborts, reason });
    invocation.print(
      invocation.flag('json')
        ? JSON.stringify({ ...target, aborts, reason, by: operator.name })
        : `${titleOf(target)} are stopped; their jobs park and wake when you resume; ` +
            (aborts
              ? 'those that run are ended within a second, and their cost stays charged as unknown'
              : 'those that run are answered and charged'),
    );
    return exitCodes.ok;
  });
}

async function resume(invocation: Invocation): Promise<number> {
  const target = targetOf(invocation);
  const { operator, reason } = actOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    const resumed = await resumeCallsAs(database.system, operator, { ...target, reason });
    if (invocation.flag('json')) invocation.print(JSON.stringify({ ...target, resumed }));
    else {
      invocation.print(
        resumed
          ? `${titleOf(target)} are made again; parked jobs wake in the next sweep`
          : `${titleOf(target)} were not stopped as such; see: purser llm stops`,
      );
    }
    return exitCodes.ok;
  });
}

async function stops(invocation: Invocation): Promise<number> {
  return withDatabase(invocation.config(), async ({ database }) => {
    const found = await listStops(database.system);
    printList(invocation, found, {
      what: 'stops',
      empty: 'no LLM call is stopped',
      head: ['tenant', 'provider', 'model', 'running calls', 'since', 'by', 'reason'],
      cells: (one) => [
        one.tenantId ?? '(all)',
        one.provider ?? '(all)',
        one.model ?? '(all)',
        one.aborts ? 'ended' : 'go on',
        one.at,
        one.by,
        one.reason,
      ],
    });
    return exitCodes.ok;
  });
}

const targets = {
  tenant: { value: 'T', help: 'calls for this tenant' },
  provider: { value: 'P', help: `calls at ${providers.join(', ')}` },
  model: { value: 'M', help: 'calls of this model' },
};

export const stopCommands: readonly Command[] = [
  {
    path: 'llm stop',
    summary: 'stop LLM calls of a tenant, a provider or a model at once; jobs that make one park',
    options: {
      ...targets,
      abort: { help: 'end the calls that run as well; what they cost stays unknown' },
      reason: reasonOption,
      by: byOption,
      json: jsonOption,
    },
    run: stop,
  },
  {
    path: 'llm resume',
    summary: 'lift a stop of LLM calls',
    options: { ...targets, ...actOptions, json: jsonOption },
    run: resume,
  },
  {
    path: 'llm stops',
    summary: 'list the stops of LLM calls',
    options: listOptions,
    run: stops,
  },
];
