/** `purser prices sync`: published prices as versions of the table. */
import type { PriceChange, SyncResult } from '../../../budget/prices/sync.ts';
import { exitCodes, UsageError } from '../../../errors.ts';
import { syncPricesAs } from '../../../operations/money/prices.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { jsonOption } from '../../terminal/command.ts';
import { actOf, actOptions } from '../../terminal/operator-options.ts';
import { formatTable } from '../../terminal/table.ts';
import { timeOption } from '../../terminal/time-option.ts';
import { ratesText, sinceText } from './rates.ts';

/** More are counted by provider. */
const maxListed = 50;

async function sync(invocation: Invocation): Promise<number> {
  const providers = invocation.values('provider');
  const models = invocation.values('model');
  const from = timeOption(invocation, 'from');
  const { operator, reason } = actOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    const result = await syncPricesAs(database.system, operator, {
      ...(providers.length === 0 ? {} : { providers }),
      ...(models.length === 0 ? {} : { models }),
      from,
      reason,
    });
    if (result.models === 0) {
      throw new UsageError(
        `no model is published under the name ${models.map((name) => JSON.stringify(name)).join(', ')}; ` +
          'leave out --model to sync all',
      );
    }
    invocation.print(invocation.flag('json') ? JSON.stringify(result) : textOf(result));
    return exitCodes.ok;
  });
}

const isNew = ({ before }: PriceChange): boolean => before === null;

function textOf({ changes, models, packageVersion }: SyncResult): string {
  const added = changes.filter(isNew);
  const changed = changes.filter((change) => !isNew(change));
  const listed = added.length > maxListed ? changed : changes;
  const total = `${models} published prices of @pydantic/genai-prices ${packageVersion} compared`;
  return [
    ...(listed.length === 0 ? [] : [tableOf(listed)]),
    ...(added.length > maxListed ? [countsOf(added)] : []),
    changes.length === 0
      ? `${total}: no change`
      : `${total}: ${changes.length} new ${changes.length === 1 ? 'version' : 'versions'}, ` +
        `${changed.length} of them of a price that was stored before`,
  ].join('\n');
}

function tableOf(changes: readonly PriceChange[]): string {
  return formatTable(
    ['version', 'provider', 'model', 'valid from', 'price', 'before'],
    changes.map(({ version, provider, model, validFrom, rates, before }) => [
      version,
      provider,
      model,
      sinceText(validFrom),
      rates === null ? 'as the package says at each call' : ratesText(rates),
      before === null ? null : ratesText(before),
    ]),
  );
}

function countsOf(added: readonly PriceChange[]): string {
  const counts = new Map<string, number>();
  for (const { provider } of added) counts.set(provider, (counts.get(provider) ?? 0) + 1);
  return `new: ${[...counts].map(([provider, count]) => `${provider} ${count}`).join(', ')}`;
}

export const syncCommand: Command = {
  path: 'prices sync',
  summary:
    'store the published prices of this release as versions, where they differ from the stored ones; safe to repeat',
  options: {
    provider: {
      value: 'P',
      help: 'only models of this provider, e.g. openai; may be repeated (default: all)',
      repeats: true,
    },
    model: {
      value: 'M',
      help: 'only the model with this published id; may be repeated (default: all)',
      repeats: true,
    },
    from: {
      value: 'TIME',
      help: 'from when a changed price without a date of its own holds; a time in the past corrects (default: now)',
    },
    ...actOptions,
    json: jsonOption,
  },
  run: sync,
};
