/** Rates as options of the command line, and as cells of a table. */
import { multiplyDecimals } from '../../../budget/money.ts';
import type { Rate, Rates } from '../../../budget/pinned-price.ts';
import { usageClasses } from '../../../budget/usage-classes.ts';
import type { UsageClass } from '../../../budget/usage-classes.ts';
import { UsageError } from '../../../errors.ts';
import type { Invocation, OptionSpec } from '../../terminal/command.ts';

const classOfOption = {
  input: 'input',
  output: 'output',
  'cache-read': 'cache_read',
  'cache-write': 'cache_write',
} as const satisfies Readonly<Record<string, UsageClass>>;

export const rateOptions = {
  input: {
    value: 'USD',
    help: 'per million input tokens; with a higher tier: 1.25,200000:2.50 above 200,000 input tokens',
    required: true,
  },
  output: { value: 'USD', help: 'per million output tokens', required: true },
  'cache-read': {
    value: 'USD',
    help: 'per million tokens read from a cache (default: as input)',
  },
  'cache-write': {
    value: 'USD',
    help: 'per million tokens written to a cache (default: as input)',
  },
  'per-request': { value: 'USD', help: 'fee for each request' },
  rate: {
    value: 'CLASS=USD',
    help: 'another class of usage, e.g. reasoning=12 or, per thousand, web_search=10; may be repeated',
    repeats: true,
  },
} satisfies Readonly<Record<string, OptionSpec>>;

const amount = '\\d{1,9}(?:\\.\\d{1,18})?';
const ratePattern = new RegExp(`^${amount}(?:,\\d{1,12}:${amount})*$`);
const feePattern = /^\d{1,6}(?:\.\d{1,18})?$/;
const shown = (text: string): string => JSON.stringify(text.slice(0, 60));

/** The rates of the options. Throws a usage error that names the option, or the class of a `--rate`. */
export function ratesOf(invocation: Invocation): Rates {
  const rates: Partial<Record<UsageClass, Rate>> = {};
  for (const [option, name] of Object.entries(classOfOption)) {
    const text = invocation.value(option);
    if (text !== undefined) rates[name] = parseRate(`--${option}`, text);
  }
  const fee = invocation.value('per-request');
  if (fee !== undefined) {
    if (!feePattern.test(fee)) {
      throw new UsageError(
        `--per-request must be US dollars per request, e.g. 0.005, not ${shown(fee)}`,
      );
    }
    rates.request = { usd: multiplyDecimals(fee, '1000') };
  }
  for (const text of invocation.values('rate')) {
    const [className = '', ...rest] = text.split('=');
    const name = usageClasses.find((known) => known === className);
    if (name === undefined || rest.length !== 1) {
      throw new UsageError(
        `--rate must be CLASS=USD with one of the classes ${usageClasses.join(', ')}, not ${shown(text)}`,
      );
    }
    if (rates[name] !== undefined) {
      throw new UsageError(`the rate of ${name} is given twice; give it once`);
    }
    rates[name] = parseRate(`--rate ${name}`, rest[0] ?? '');
  }
  return rates;
}

function parseRate(option: string, text: string): Rate {
  if (!ratePattern.test(text)) {
    throw new UsageError(
      `${option} must be US dollars per million tokens, e.g. 0.25, or with a tier above a number of input tokens, ` +
        `e.g. 1.25,200000:2.50, not ${shown(text)}`,
    );
  }
  const [usd = '', ...tiers] = text.split(',');
  if (tiers.length === 0) return { usd: shortest(usd) };
  const parsed = tiers.map((tier) => {
    const [above = '', tierUsd = ''] = tier.split(':');
    return { aboveInputTokens: Number(above), usd: shortest(tierUsd) };
  });
  if (new Set(parsed.map(({ aboveInputTokens }) => aboveInputTokens)).size < parsed.length) {
    throw new UsageError(`${option} has two tiers above the same number of tokens: ${shown(text)}`);
  }
  return { usd: shortest(usd), tiers: parsed };
}

/** Without leading and trailing zeros. */
const shortest = (usd: string): string => multiplyDecimals(usd, '1');

/** As the options take it; empty where there is no rate. */
function rateText(rate: Rate | undefined): string {
  if (rate === undefined) return '';
  const tiers = (rate.tiers ?? []).map((tier) => `${tier.aboveInputTokens}:${tier.usd}`);
  return [rate.usd, ...tiers].join(',');
}

const columnsOfTable: readonly UsageClass[] = ['input', 'output', 'cache_read', 'cache_write'];

export const rateColumns: readonly string[] = [
  ...columnsOfTable.map((name) => name.replace('_', ' ')),
  'request',
  'other',
];

/** Cells for `rateColumns`. The fee is per request, and not per thousand. */
export function rateCells(rates: Rates | null): readonly string[] {
  if (rates === null) return ['none', ...rateColumns.slice(1).map(() => '')];
  const { request } = rates;
  const others = usageClasses.filter(
    (name) => name !== 'request' && !columnsOfTable.includes(name),
  );
  return [
    ...columnsOfTable.map((name) => rateText(rates[name])),
    request === undefined ? '' : multiplyDecimals(request.usd, '0.001'),
    others
      .filter((name) => rates[name] !== undefined)
      .map((name) => `${name}=${rateText(rates[name])}`)
      .join(' '),
  ];
}

/** All rates in one line, for a sentence. */
export function ratesText(rates: Rates): string {
  const { request } = rates;
  return [
    ...usageClasses
      .filter((name) => name !== 'request' && rates[name] !== undefined)
      .map((name) => `${name} ${rateText(rates[name])}`),
    ...(request === undefined ? [] : [`${multiplyDecimals(request.usd, '0.001')} per request`]),
  ].join(', ');
}

/** A published price without a date holds since ever. */
export const sinceText = (validFrom: Date): string | null =>
  validFrom.getTime() <= 0 ? null : validFrom.toISOString();
