/** Rows of a Cloud Billing export, made from the test provider's own book, rounding included. */
import { usdOf } from '../faulty-calls.ts';
import type { Billed } from '../faulty-calls.ts';
import { bucketsOf, csv } from './sums.ts';

const skuOf = (model: string, cell: string): string =>
  `Generate content ${cell} token count ${model.replaceAll('-', ' ')} short ${cell === 'output' ? 'input ' : ''}text`;

/** A billing export: SKUs by the hour, costs as doubles rounded to micro-dollars, other services and a tax beside them. */
export function googleCsv(billed: readonly Billed[]): string {
  const header = (
    'billing_account_id,service.id,service.description,sku.id,sku.description,usage_start_time,usage_end_time,project.id,' +
    'project.name,labels,location.location,export_time,cost,currency,currency_conversion_rate,usage.amount,usage.unit,' +
    'usage.amount_in_pricing_units,usage.pricing_unit,credits,invoice.month,cost_type'
  ).split(',');
  const row = (
    sku: string,
    day: string,
    cost: string,
    amount: string,
    type = 'regular',
  ): string[] => [
    '018984-D0AAA4-940B88',
    'AEFD-7695-64FA',
    'Gemini API',
    '911A-8880-A243',
    sku,
    `${day} 12:00:00+00:00`,
    `${day} 13:00:00+00:00`,
    'gen-lang-client-1',
    'Default',
    '[]',
    'global',
    `${day} 23:11:12.066000+00:00`,
    cost,
    'USD',
    '1.0',
    amount,
    'count',
    '0',
    'count',
    '[]',
    '202611',
    type,
  ];
  const buckets = bucketsOf(billed);
  const day = buckets[0]?.day ?? '2026-11-01';
  return csv([
    header,
    ...buckets.map((one) =>
      row(
        skuOf(one.model, one.cell),
        one.day,
        String(Number(usdOf(one.atto, 6))),
        `${one.tokens}.0`,
      ),
    ),
    row('Cloud Run functions CPU', day, '2.8', '7'),
    row('Tax', day, '1.5', '0', 'tax'),
  ]);
}

/** The same rows as BigQuery writes them in JSON lines. */
export function googleJsonLines(billed: readonly Billed[]): string {
  return bucketsOf(billed)
    .map(({ day, model, cell, tokens, atto }) =>
      JSON.stringify({
        service: { id: 'AEFD-7695-64FA', description: 'Gemini API' },
        sku: { id: '911A-8880-A243', description: skuOf(model, cell) },
        usage_start_time: `${day} 12:00:00 UTC`,
        usage_end_time: `${day} 13:00:00 UTC`,
        project: { id: 'gen-lang-client-1', name: 'Default' },
        labels: [],
        cost: Number(usdOf(atto, 6)),
        currency: 'USD',
        usage: { amount: tokens, unit: 'count' },
        credits: [],
        cost_type: 'regular',
      }),
    )
    .join('\n');
}
