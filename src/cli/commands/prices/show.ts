/** `purser prices show`: prices in force, or all their versions, and what a call of a model costs. */
import type { PinnedPrice } from '../../../budget/pinned-price.ts';
import { priceOf } from '../../../budget/prices/in-force.ts';
import { providerOf, publishedKey } from '../../../budget/prices/published.ts';
import { assertTenant } from '../../../budget/prices/set.ts';
import { listVersions } from '../../../budget/prices/versions.ts';
import type { PriceVersion } from '../../../budget/prices/versions.ts';
import { codeOf, exitCodes } from '../../../errors.ts';
import { requestBaseUrl } from '../../../llm/create-llm.ts';
import { llmProviderOf } from '../../runtime/llm-provider.ts';
import { withDatabase } from '../../runtime/with-database.ts';
import type { Command, Invocation } from '../../terminal/command.ts';
import { jsonOption } from '../../terminal/command.ts';
import { formatTable } from '../../terminal/table.ts';
import type { Cell } from '../../terminal/table.ts';
import { rateCells, rateColumns, ratesText, sinceText } from './rates.ts';
import { providerOption, scopeOptions, scopeText, tenantOption } from './scope.ts';

async function show(invocation: Invocation): Promise<number> {
  const model = invocation.value('model');
  const tenantId = tenantOption(invocation);
  const asked = providerOption(invocation);
  const history = invocation.flag('history');
  const config = invocation.config();
  return withDatabase(config, async ({ database }) => {
    const sql = database.system;
    if (tenantId !== undefined) await assertTenant(sql, tenantId);
    const baseUrl = requestBaseUrl(llmProviderOf(config));
    const provider = asked ?? (baseUrl === undefined ? undefined : providerOf(baseUrl));
    const query =
      model === undefined
        ? undefined
        : { tenantId, model, ...(provider === undefined ? {} : { provider }) };
    const key = query === undefined ? undefined : publishedKey(query);
    const versions = await listVersions(sql, {
      ...(model === undefined
        ? {}
        : { models: [model, ...(key === undefined ? [] : [key.model])] }),
      tenantId,
      providers:
        asked === undefined ? undefined : [asked, ...(key === undefined ? [] : [key.provider])],
      history,
    });
    const call =
      query === undefined
        ? undefined
        : await priceOf(sql, query).catch((error: unknown) => {
            if (codeOf(error) !== 'model_unpriced' || versions.length === 0) throw error;
            return undefined;
          });
    if (invocation.flag('json')) {
      invocation.print(JSON.stringify({ versions, call: call ?? null }));
      return exitCodes.ok;
    }
    if (versions.length > 0) invocation.print(tableOf(versions, history));
    else if (call === undefined) {
      invocation.print(
        'no price is stored: published prices are read from the package; see: purser prices sync',
      );
    }
    if (query !== undefined) invocation.print(callText(query, call));
    return exitCodes.ok;
  });
}

function tableOf(versions: readonly PriceVersion[], history: boolean): string {
  const past = history ? ['in force', 'added', 'by', 'reason'] : [];
  return formatTable(
    ['version', 'source', 'tenant', 'provider', 'model', 'valid from', ...rateColumns, ...past],
    versions.map((version): readonly Cell[] => [
      version.version,
      version.source,
      version.tenantId ?? '(all)',
      version.provider ?? '(all)',
      version.model,
      sinceText(version.validFrom),
      ...rateCells(version.rates),
      ...(history
        ? [version.inForce ? 'yes' : '', version.createdAt, version.by, version.reason]
        : []),
    ]),
  );
}

function callText(query: Parameters<typeof scopeText>[0], call: PinnedPrice | undefined): string {
  const what = `a call of ${scopeText(query)}`;
  if (call === undefined) return `${what} has no price and is refused`;
  const { version, source, packageVersion } = call;
  if (version !== undefined) return `${what} is priced by version ${version} (${source})`;
  const rates = ratesText(call.rates);
  return `${what} is priced by @pydantic/genai-prices ${packageVersion ?? ''}, which is not stored: ${rates}`;
}

export const showCommand: Command = {
  path: 'prices show',
  summary:
    'list the stored prices in force, and with --model what a call of it costs (USD per million tokens; fees per request)',
  options: {
    model: { value: 'M', help: 'only this model' },
    provider: {
      ...scopeOptions.provider,
      help: 'only at this provider (default: all; calls at the configured one)',
    },
    tenant: { value: 'T', help: 'with the own prices of this tenant only' },
    history: { help: 'every version, also past and future ones' },
    json: jsonOption,
  },
  run: show,
};
