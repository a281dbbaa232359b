/** `purser fleet-scopes set|remove|list`: limits of what all tenants together spend on LLM calls. */
import { fleetScopeKinds } from '../../budget/fleet/scopes.ts';
import type { FleetScopeTarget } from '../../budget/fleet/scopes.ts';
import { fleetScopeStatus } from '../../budget/fleet/status.ts';
import type { FleetScopeStatus } from '../../budget/fleet/status.ts';
import { exitCodes, UsageError } from '../../errors.ts';
import { removeFleetScopeAs, setFleetScopeAs } from '../../operations/money/scopes.ts';
import { withDatabase } from '../runtime/with-database.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { jsonOption } from '../terminal/command.ts';
import { actOf, actOptions } from '../terminal/operator-options.ts';
import { listOptions, printList } from '../terminal/cut-list.ts';
import type { ListTable } from '../terminal/cut-list.ts';
import { providers } from './llm/stops.ts';

const words = fleetScopeKinds.map((kind) => kind.replace('_', '-'));

function targetOf(invocation: Invocation): FleetScopeTarget {
  const word = invocation.required('kind');
  const kind = fleetScopeKinds.find((one) => one.replace('_', '-') === word);
  if (kind === undefined) {
    throw new UsageError(`--kind must be one of ${words.join(', ')}, not ${JSON.stringify(word)}`);
  }
  const period = invocation.value('each');
  if (period !== 'day' && period !== 'month') throw new UsageError('--each must be day or month');
  const key = invocation.value('key');
  const model = invocation.value('model');
  if (key !== undefined && kind !== 'provider_key') {
    throw new UsageError('--key belongs to --kind provider-key');
  }
  if (model !== undefined && kind !== 'model') {
    throw new UsageError('--model belongs to --kind model');
  }
  const provider = invocation.value('provider');
  if (provider !== undefined && !providers.includes(provider)) {
    throw new UsageError(
      `--provider must be one of ${providers.join(', ')}, not ${JSON.stringify(provider)}`,
    );
  }
  return { kind, provider, subject: key ?? model, period };
}

const titleOf = ({ kind, provider, subject, period }: FleetScopeTarget): string => {
  const of = provider === undefined ? '' : ` of ${provider}`;
  const what = {
    fleet: 'all calls',
    provider: `provider ${provider}`,
    provider_key: `key ${subject}${of}`,
    model: `model ${subject}${of}`,
  }[kind];
  return `${what} of all tenants per ${period}`;
};

async function set(invocation: Invocation): Promise<number> {
  const target = targetOf(invocation);
  const { operator, reason } = actOf(invocation);
  const limitUsd = invocation.required('limit');
  if (!/^\d{1,9}(\.\d{1,9})?$/.test(limitUsd)) {
    throw new UsageError(
      `--limit must be US dollars with at most 9 decimals, e.g. 25.00, not ${JSON.stringify(limitUsd)}`,
    );
  }
  const request = {
    ...target,
    timeZone: invocation.value('zone'),
    limitUsd,
    hard: !invocation.flag('soft'),
  };
  return withDatabase(invocation.config(), async ({ database }) => {
    const outcome = await setFleetScopeAs(database.system, operator, { ...request, reason });
    invocation.print(
      invocation.flag('json')
        ? JSON.stringify({ ...request, by: operator.name, outcome })
        : `${titleOf(target)}: at most $${limitUsd}${request.hard ? '' : ', flagged beyond it'} (${outcome})`,
    );
    return exitCodes.ok;
  });
}

async function remove(invocation: Invocation): Promise<number> {
  const target = targetOf(invocation);
  const { operator, reason } = actOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    const removed = await removeFleetScopeAs(database.system, operator, { ...target, reason });
    invocation.print(
      invocation.flag('json')
        ? JSON.stringify({ ...target, removed })
        : `${titleOf(target)}: ${removed ? 'no limit any more' : 'had no limit'}`,
    );
    return exitCodes.ok;
  });
}

async function list(invocation: Invocation): Promise<number> {
  return withDatabase(invocation.config(), async ({ database }) => {
    const scopes = await fleetScopeStatus(database.system);
    printList(invocation, scopes, table);
    return exitCodes.ok;
  });
}

const nameOf = ({ provider, subject }: FleetScopeStatus): string =>
  [provider, subject].filter((name) => name !== null).join(' ');

const table: ListTable<FleetScopeStatus> = {
  what: 'limits',
  empty: 'no limit over all tenants',
  head: [
    'kind',
    'of',
    'each',
    'zone',
    'limit',
    'used',
    'reserved',
    'allotted',
    'tenants',
    'resets',
  ],
  cells: (scope) => [
    scope.kind.replace('_', '-'),
    nameOf(scope),
    scope.period,
    scope.timeZone,
    `${scope.limitUsd}${scope.hardLimit ? '' : ' soft'}${scope.binds ? '' : ' (not counted yet: set it again)'}`,
    scope.unknownUsd === '0' ? scope.spentUsd : `${scope.spentUsd} + ${scope.unknownUsd} unknown`,
    scope.reservedUsd,
    scope.allottedUsd,
    scope.tenants,
    scope.resetsAt ?? '',
  ],
};

const targets = {
  kind: { value: 'KIND', help: `what is limited: ${words.join(', ')}`, required: true },
  provider: {
    value: 'P',
    help: `the provider: ${providers.join(', ')}; of a model: only its calls there`,
  },
  key: { value: 'NAME', help: 'the name of the key, e.g. platform' },
  model: { value: 'M', help: 'the model' },
  each: { value: 'PERIOD', help: 'day or month', required: true },
};

export const fleetScopeCommands: readonly Command[] = [
  {
    path: 'fleet-scopes set',
    summary:
      "limit what all tenants together spend by day or month, on all LLM calls or those of a provider, a provider's key or a model",
    options: {
      ...targets,
      limit: { value: 'USD', help: 'US dollars in the period, e.g. 2500.00', required: true },
      zone: {
        value: 'ZONE',
        help: 'IANA time zone of the period, e.g. Europe/Berlin (default: UTC)',
      },
      soft: { help: 'allow calls beyond the limit, and flag them' },
      ...actOptions,
      json: jsonOption,
    },
    run: set,
  },
  {
    path: 'fleet-scopes remove',
    summary: 'remove such a limit',
    options: { ...targets, ...actOptions, json: jsonOption },
    run: remove,
  },
  {
    path: 'fleet-scopes list',
    summary: 'list these limits with what all tenants have used of each in its running period',
    options: listOptions,
    run: list,
  },
];
