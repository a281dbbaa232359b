/** `purser prices set|clear`: an operator's own price of a model. */
import type { Rates } from '../../../budget/pinned-price.ts';
import { exitCodes } from '../../../errors.ts';
import { setPriceAs } from '../../../operations/money/prices.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { jsonOption } from '../../terminal/command.ts';
import { byOption, reasonedActOf, reasonOption } from '../../terminal/operator-options.ts';
import { timeOption } from '../../terminal/time-option.ts';
import { rateOptions, ratesOf, ratesText } from './rates.ts';
import { modelOf, providerOption, scopeOptions, scopeText, tenantOption } from './scope.ts';

async function change(invocation: Invocation, rates: Rates | null): Promise<number> {
  const scope = {
    tenantId: tenantOption(invocation) ?? null,
    provider: providerOption(invocation) ?? null,
    model: modelOf(invocation),
  };
  const from = timeOption(invocation, 'from');
  const { operator, reason } = reasonedActOf(invocation);
  return withDatabase(invocation.config(), async ({ database }) => {
    const { version, validFrom, until } = await setPriceAs(database.system, operator, {
      ...scope,
      rates,
      from,
      reason,
    });
    if (invocation.flag('json')) {
      invocation.print(
        JSON.stringify({ version, ...scope, rates, validFrom, until, reason, by: operator.name }),
      );
    } else {
      const what =
        rates === null
          ? `${scopeText(scope)} has no price of its own`
          : `${scopeText(scope)} costs ${ratesText(rates)} (USD per million tokens)`;
      const time = `from ${validFrom.toISOString()} on`;
      invocation.print(
        version === null ? `unchanged: ${what} ${time}` : `version ${version}: ${what} ${time}`,
      );
    }
    if (until !== null) {
      invocation.note(
        `another version of ${scopeText(scope)} replaces this from ${until.toISOString()} on; see: purser prices show --history`,
      );
    }
    return exitCodes.ok;
  });
}

const fromOption = {
  value: 'TIME',
  help: 'from when it holds, e.g. 2026-12-01 or 2026-12-01T08:00:00Z; a time in the past corrects (default: now)',
};

export const setCommands: readonly Command[] = [
  {
    path: 'prices set',
    summary:
      'set your own price of a model, for all tenants or for one, ahead of the published price; it counts from the next call on',
    options: {
      ...scopeOptions,
      ...rateOptions,
      from: fromOption,
      reason: reasonOption,
      by: byOption,
      json: jsonOption,
    },
    run: (invocation) => change(invocation, ratesOf(invocation)),
  },
  {
    path: 'prices clear',
    summary: 'end your own price of a model: the next one counts again, e.g. the published price',
    options: {
      ...scopeOptions,
      from: fromOption,
      reason: reasonOption,
      by: byOption,
      json: jsonOption,
    },
    run: (invocation) => change(invocation, null),
  },
];
