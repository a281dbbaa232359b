/** `purser scopes set|remove|list`: limits of a tenant's LLM calls beside its month. */
import { scopeKinds, scopeStatus } from '../../budget/scopes.ts';
import type { ScopeStatus, ScopeTarget } from '../../budget/scopes.ts';
import { exitCodes, UsageError } from '../../errors.ts';
import { removeScopeAs, setScopeAs } from '../../operations/money/scopes.ts';
import { withDatabase } from '../runtime/with-database.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { jsonOption } from '../terminal/command.ts';
import { actOf, actOptions } from '../terminal/operator-options.ts';
import { listOptions, printList } from '../terminal/cut-list.ts';
import type { ListTable } from '../terminal/cut-list.ts';

const words = scopeKinds.map((kind) => kind.replace('_', '-'));

function targetOf(invocation: Invocation): ScopeTarget {
  const word = invocation.required('kind');
  const kind = scopeKinds.find((one) => one.replace('_', '-') === word);
  if (kind === undefined) {
    throw new UsageError(`--kind must be one of ${words.join(', ')}, not ${JSON.stringify(word)}`);
  }
  const period = invocation.value('each') ?? (kind === 'job' ? 'job' : undefined);
  if (period !== 'day' && period !== 'month' && period !== 'job') {
    throw new UsageError('--each must be day or month; a scope of jobs needs none');
  }
  return {
    tenantId: invocation.required('tenant'),
    kind,
    subject: invocation.value('subject'),
    period,
  };
}

const titleOf = ({ tenantId, kind, subject, period }: ScopeTarget): string => {
  const what =
    kind === 'tenant'
      ? 'all calls'
      : kind === 'job'
        ? `each job${subject === undefined ? '' : ` of type ${subject}`}`
        : `${subject === undefined ? 'each ' : ''}${kind.replace('_', ' ')}${subject === undefined ? '' : ` ${subject}`}`;
  return `${what} of tenant ${tenantId}${period === 'job' ? '' : ` per ${period}`}`;
};

async function set(invocation: Invocation): Promise<number> {
  const target = targetOf(invocation);
  const { operator, reason } = actOf(invocation);
  const limitUsd = invocation.value('limit');
  if (limitUsd !== undefined && !/^\d{1,9}(\.\d{1,9})?$/.test(limitUsd)) {
    throw new UsageError(
      `--limit must be US dollars with at most 9 decimals, e.g. 25.00, not ${JSON.stringify(limitUsd)}`,
    );
  }
  const calls = invocation.value('calls');
  if (calls !== undefined && !/^\d{1,10}$/.test(calls)) {
    throw new UsageError('--calls must be a whole number from 0');
  }
  if (limitUsd === undefined && calls === undefined) {
    throw new UsageError('say what is allowed: --limit USD, --calls N, or both');
  }
  const request = {
    ...target,
    timeZone: invocation.value('zone'),
    limitUsd,
    limitCalls: calls === undefined ? undefined : Number(calls),
    hard: !invocation.flag('soft'),
  };
  return withDatabase(invocation.config(), async ({ database }) => {
    const outcome = await setScopeAs(database.system, operator, { ...request, reason });
    const most = [
      ...(limitUsd === undefined ? [] : [`$${limitUsd}`]),
      ...(calls === undefined ? [] : [`${calls} calls`]),
    ].join(' and ');
    invocation.print(
      invocation.flag('json')
        ? JSON.stringify({ ...request, by: operator.name, outcome })
        : `${titleOf(target)}: at most ${most}${request.hard ? '' : ', flagged beyond it'} (${outcome})`,
    );
    return exitCodes.ok;
  });
}

async function remove(invocation: Invocation): Promise<number> {
  const target = targetOf(invocation);
  const { operator, reason } = actOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    const removed = await removeScopeAs(database.system, operator, { ...target, reason });
    if (invocation.flag('json')) invocation.print(JSON.stringify({ ...target, removed }));
    else {
      invocation.print(
        `${titleOf(target)}: ${removed ? 'no limit of its own any more' : 'had no limit of its own'}`,
      );
    }
    return exitCodes.ok;
  });
}

async function list(invocation: Invocation): Promise<number> {
  return withDatabase(invocation.config(), async ({ database }) => {
    const scopes = await scopeStatus(database.system, { tenantId: invocation.value('tenant') });
    printList(invocation, scopes, table);
    return exitCodes.ok;
  });
}

const table: ListTable<ScopeStatus> = {
  what: 'limits',
  empty: 'no scope; the month of each tenant is shown by: purser budget show',
  head: [
    'tenant',
    'kind',
    'subject',
    'each',
    'zone',
    'limit',
    'calls',
    'of',
    'used',
    'reserved',
    'made',
    'resets',
  ],
  cells: (scope) => [
    scope.tenantId,
    scope.kind.replace('_', '-'),
    scope.subject ?? (scope.kind === 'tenant' ? '' : '(each)'),
    scope.period,
    scope.timeZone,
    `${scope.limitUsd ?? ''}${scope.hardLimit ? '' : ' soft'}`,
    scope.limitCalls ?? '',
    scope.value ?? '(no call yet)',
    scope.unknownUsd === '0' ? scope.spentUsd : `${scope.spentUsd} + ${scope.unknownUsd} unknown`,
    scope.reservedUsd,
    scope.calls,
    scope.resetsAt ?? '',
  ],
};

const targets = {
  tenant: { value: 'T', help: "the tenant's id", required: true },
  kind: { value: 'KIND', help: `what is limited: ${words.join(', ')}`, required: true },
  subject: {
    value: 'NAME',
    help: 'the job type, model, provider key or end user; of jobs their type; leave it out to limit each by itself',
  },
  each: { value: 'PERIOD', help: 'day or month; a scope of jobs lasts as long as its job' },
};

export const scopeCommands: readonly Command[] = [
  {
    path: 'scopes set',
    summary:
      "limit a tenant's LLM calls by day or month, of one job type, model, provider key or end user, or what one job may spend",
    options: {
      ...targets,
      zone: {
        value: 'ZONE',
        help: 'IANA time zone of the period, e.g. Europe/Berlin (default: UTC)',
      },
      limit: { value: 'USD', help: 'US dollars in the period, e.g. 25.00' },
      calls: { value: 'N', help: 'calls in the period' },
      soft: { help: 'allow calls beyond the limit, and flag them' },
      ...actOptions,
      json: jsonOption,
    },
    run: set,
  },
  {
    path: 'scopes remove',
    summary: 'remove such a limit',
    options: { ...targets, ...actOptions, json: jsonOption },
    run: remove,
  },
  {
    path: 'scopes list',
    summary: 'list these limits with what was used of each in its running period',
    options: { tenant: { value: 'T', help: 'only this tenant' }, ...listOptions },
    run: list,
  },
];
