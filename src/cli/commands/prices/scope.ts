/** What a price is of, as options: the model, its provider and a tenant. */
import { publishedProviders } from '../../../budget/prices/catalogue.ts';
import { UsageError } from '../../../errors.ts';
import { nameFault } from '../../../names.ts';
import type { Invocation, OptionSpec } from '../../terminal/command.ts';

export const scopeOptions = {
  model: { value: 'M', help: 'the model as calls name it', required: true },
  provider: {
    value: 'P',
    help: 'only at this provider: an id such as openai or groq, or the host of a base URL (default: at every one)',
  },
  tenant: { value: 'T', help: 'only for this tenant (default: for all)' },
} satisfies Readonly<Record<string, OptionSpec>>;

/** `--model` as the name of a model that gets a price. */
export function modelOf(invocation: Invocation): string {
  const model = invocation.required('model');
  const fault = nameFault('model', model);
  if (fault !== undefined) throw new UsageError(`--model: ${fault}`);
  return model;
}

/** A host with a dot, a port or brackets, or localhost: an id that is misspelt has none of them. */
const hostPattern = /^(localhost|(?=.*[.:])[a-z0-9.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?$/;
const maxLength = 200;

/** `--provider`: an id of the published prices, or a host as `providerOf` writes it. */
export function providerOption(invocation: Invocation): string | undefined {
  const provider = invocation.value('provider');
  if (provider === undefined || publishedProviders.includes(provider)) return provider;
  if (provider.length <= maxLength && hostPattern.test(provider)) return provider;
  throw new UsageError(
    `there is no provider ${JSON.stringify(provider.slice(0, 60))}; use the host of its base URL, e.g. llm.example.com:8000, ` +
      `or one of ${publishedProviders.join(', ')}`,
  );
}

export function tenantOption(invocation: Invocation): string | undefined {
  const tenantId = invocation.value('tenant');
  if (tenantId === '') throw new UsageError('--tenant must name a tenant');
  return tenantId;
}

/** `llama3 at groq for tenant acme`. */
export function scopeText(scope: {
  readonly model: string;
  readonly provider?: string | null | undefined;
  readonly tenantId?: string | null | undefined;
}): string {
  const { model, provider, tenantId } = scope;
  const at = provider === undefined || provider === null ? '' : ` at ${provider}`;
  const by = tenantId === undefined || tenantId === null ? '' : ` for tenant ${tenantId}`;
  return `${model}${at}${by}`;
}
