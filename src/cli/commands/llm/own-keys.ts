/**
 * `purser llm keys set|list|remove`: the tenants' own keys of LLM providers. A key is read from stdin or a file, stored
 * encrypted, and never printed.
 */
import { openKeyring } from '../../../crypto/open-keyring.ts';
import { exitCodes, PurserError, UsageError } from '../../../errors.ts';
import { keyVersionToWrite } from '../../../jobs/key-versions.ts';
import { nameOfOwnKey } from '../../../llm/keys/own-key.ts';
import type { OwnKey } from '../../../llm/keys/own-key.ts';
import { checkOwnKey, listOwnKeys, ownKeyProviders } from '../../../llm/keys/stored-keys.ts';
import { removeOwnKeyAs, setOwnKeyAs } from '../../../operations/money/calls.ts';
import { jobFilter } from '../../reports/job-filter.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { jsonOption } from '../../terminal/command.ts';
import { actOf, actOptions } from '../../terminal/operator-options.ts';
import { listOptions, printList } from '../../terminal/cut-list.ts';
import { readSecret } from '../../terminal/read-secret.ts';
import type { SecretInput } from '../../terminal/read-secret.ts';

const providers = ownKeyProviders.join(', ');

const keyInput: SecretInput = {
  what: 'the key',
  plural: false,
  option: 'key-file',
  maxBytes: 4_096,
  code: 'invalid_provider_key',
};

function ownKeyOf(invocation: Invocation): OwnKey {
  const [tenantId = ''] = invocation.positionals;
  const given = invocation.required('provider');
  const provider = ownKeyProviders.find((one) => one === given);
  if (provider === undefined) {
    throw new UsageError(`--provider must be one of ${providers}, not ${JSON.stringify(given)}`);
  }
  return { tenantId, provider };
}

async function set(invocation: Invocation): Promise<number> {
  const own = ownKeyOf(invocation);
  const { operator, reason } = actOf(invocation);
  const countsAgainstBudget = invocation.flag('against-budget');
  const config = invocation.config();
  const keyring = await openKeyring(config);
  const apiKey = await readSecret(invocation, keyInput);
  checkOwnKey(apiKey);
  return withDatabase(config, async ({ database: { system: sql } }) => {
    const keyVersion = await keyVersionToWrite(sql, keyring);
    const stored = await setOwnKeyAs(sql, operator, {
      ...own,
      apiKey,
      countsAgainstBudget,
      keyring,
      keyVersion,
      reason,
    });
    const { outcome, lastFour } = stored;
    const counted = countsAgainstBudget
      ? 'its calls count against the budget'
      : 'its calls are counted apart from the budget';
    invocation.print(
      invocation.flag('json')
        ? JSON.stringify({
            ...own,
            outcome,
            lastFour,
            countsAgainstBudget,
            keyVersion,
            by: operator.name,
          })
        : `own ${own.provider} key of tenant ${own.tenantId} ${outcome}, it ends in ${lastFour}; ${counted}`,
    );
    return exitCodes.ok;
  });
}

async function list(invocation: Invocation): Promise<number> {
  return withDatabase(invocation.config(), async ({ database: { system: sql } }) => {
    const { tenantId } = await jobFilter(invocation, sql);
    const keys = await listOwnKeys(sql, { tenantId });
    printList(invocation, keys, {
      what: 'own keys',
      empty: "no own key; all calls are made with the platform's key",
      head: ['tenant', 'provider', 'key', 'ends in', 'budget', 'key version', 'set', 'by'],
      cells: (key) => [
        key.tenantId,
        key.provider,
        nameOfOwnKey(key),
        key.lastFour,
        key.countsAgainstBudget ? 'counts' : 'apart',
        key.keyVersion,
        key.setAt,
        key.setBy,
      ],
    });
    return exitCodes.ok;
  });
}

async function remove(invocation: Invocation): Promise<number> {
  const own = ownKeyOf(invocation);
  const { operator, reason } = actOf(invocation);
  return withDatabase(invocation.config(), async ({ database: { system: sql } }) => {
    if (!(await removeOwnKeyAs(sql, operator, { ...own, reason }))) {
      throw new PurserError(
        'unknown_provider_key',
        `tenant ${JSON.stringify(own.tenantId)} has no own key of ${own.provider}; see: purser llm keys list`,
      );
    }
    invocation.print(
      invocation.flag('json')
        ? JSON.stringify({ ...own, removed: true })
        : `own ${own.provider} key of tenant ${own.tenantId} removed; its calls are made with the platform's key`,
    );
    return exitCodes.ok;
  });
}

const tenant = { name: 'TENANT', help: "the tenant's id", required: true };
const provider = { value: 'P', help: `one of ${providers}`, required: true };

export const ownKeyCommands: readonly Command[] = [
  {
    path: 'llm keys set',
    summary: "read a tenant's own key of an LLM provider from stdin and store it encrypted",
    positionals: [tenant],
    options: {
      provider,
      'key-file': { value: 'FILE', help: 'read the key from this file instead' },
      'against-budget': {
        help: "count its calls in the tenant's month and scopes, like those of the platform's key",
      },
      ...actOptions,
      json: jsonOption,
    },
    run: set,
  },
  {
    path: 'llm keys list',
    summary: "list the tenants' own keys by their last four characters; never the keys",
    options: { tenant: { value: 'T', help: 'only of this tenant' }, ...listOptions },
    run: list,
  },
  {
    path: 'llm keys remove',
    summary: "delete a tenant's own key; its calls are made with the platform's key again",
    positionals: [tenant],
    options: { provider, ...actOptions, json: jsonOption },
    run: remove,
  },
];
