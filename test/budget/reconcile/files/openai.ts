/** OpenAI's costs, made from the test provider's own book, rounding included. */
import { usdOf } from '../faulty-calls.ts';
import type { Billed } from '../faulty-calls.ts';
import { bucketsOf, csv, secondsOf } from './sums.ts';

const sum = (amounts: readonly bigint[]): bigint => amounts.reduce((a, b) => a + b, 0n);

/** The dashboard's export: exact decimals with trailing zeros, an empty row for a day without costs. */
export function openAiCsv(billed: readonly Billed[], emptyDay: string): string {
  const row = (day: string, values: readonly string[]): string[] => {
    const start = secondsOf(day);
    return [String(start), String(start + 86_400), `${day}T00:00:00+00:00`, '', ...values];
  };
  const empty = ['', '', '', '', '', '', '', '', '', '', '', '', ''];
  return csv([
    (
      'start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,quantity,quantity_unit,line_item,' +
      'user_id,api_key_id,project_id,organization_id,project_name,organization_name,user_email,api_source'
    ).split(','),
    row(emptyDay, empty),
    ...bucketsOf(billed).map(({ day, model, cell, tokens, atto }) =>
      row(day, [
        `${usdOf(atto)}000000000000`,
        'usd',
        `${tokens}.0`,
        'tokens',
        `${model}-2024-07-18, ${cell}`,
        '',
        '',
        'proj_abc',
        'org-abc',
        'Default project',
        'Personal',
        '',
        '',
      ]),
    ),
  ]);
}

/** The API's page: floats that are rounded to micro-dollars, without quantities; grouped by line item, or not at all. */
export function openAiJson(billed: readonly Billed[], by: 'line_item' | 'day'): string {
  const buckets = bucketsOf(billed);
  const days = [...new Set(buckets.map(({ day }) => day))];
  const result = (atto: bigint, item: string | null) => ({
    object: 'organization.costs.result',
    amount: { value: Number(usdOf(atto, 6)), currency: 'usd' },
    line_item: item,
    project_id: null,
  });
  const data = days.map((day) => {
    const own = buckets.filter((bucket) => bucket.day === day);
    return {
      object: 'bucket',
      start_time: secondsOf(day),
      end_time: secondsOf(day) + 86_400,
      results:
        by === 'day'
          ? [result(sum(own.map(({ atto }) => atto)), null)]
          : own.map(({ model, cell, atto }) => result(atto, `${model}-2024-07-18, ${cell}`)),
    };
  });
  return JSON.stringify({ object: 'page', data, has_more: false, next_page: null });
}
