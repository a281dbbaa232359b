/** Anthropic's usage, made from the test provider's own book. */
import type { Billed } from '../faulty-calls.ts';
import { bucketsOf, csv, secondsOf } from './sums.ts';

/** The Console's export of usage, by key and model. */
export function anthropicCsv(billed: readonly Billed[]): string {
  const buckets = bucketsOf(billed);
  return csv([
    (
      'usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,' +
      'usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,' +
      'usage_output_tokens,web_search_count,inference_geo,speed'
    ).split(','),
    ...buckets
      .filter(({ cell }) => cell === 'input')
      .map(({ day, model, tokens }) => {
        const output = buckets.find(
          (one) => one.day === day && one.model === model && one.cell === 'output',
        );
        return [
          day,
          `${model}-20251001`,
          'purser',
          'Default',
          'standard',
          '\u2264 200k',
          String(tokens),
          '0',
          '0',
          '0',
          String(output?.tokens ?? 0),
          '0',
          'not_available',
          '',
        ];
      }),
  ]);
}

/** The API's pages of usage. */
export function anthropicJson(billed: readonly Billed[]): string {
  const buckets = bucketsOf(billed);
  const days = [...new Set(buckets.map(({ day }) => day))];
  const data = days.map((day) => ({
    starting_at: `${day}T00:00:00Z`,
    ending_at: new Date((secondsOf(day) + 86_400) * 1000).toISOString(),
    results: buckets
      .filter((one) => one.day === day && one.cell === 'input')
      .map(({ model, tokens }) => ({
        uncached_input_tokens: tokens,
        cache_creation: { ephemeral_1h_input_tokens: 0, ephemeral_5m_input_tokens: 0 },
        cache_read_input_tokens: 0,
        output_tokens: buckets.find(
          (one) => one.day === day && one.model === model && one.cell === 'output',
        )?.tokens,
        server_tool_use: { web_search_requests: 0 },
        api_key_id: 'apikey_01',
        workspace_id: null,
        model: `${model}-20251001`,
        service_tier: 'standard',
        context_window: '0-200k',
      })),
  }));
  return JSON.stringify({ data, has_more: false, next_page: null });
}
