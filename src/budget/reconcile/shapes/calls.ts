/**
 * A gateway's log with one row per call that was billed, under the names that gateways use: LiteLLM, OpenRouter,
 * Cloudflare. A call is found by the id that Purser sent with it, the reservation's, or by the provider's.
 */
import { amountOf, badValue, countOf, textOf, timeOf } from './row.ts';
import type { CallShape } from './shape.ts';

const clientId = [
  'client_request_id',
  'x-client-request-id',
  'x_client_request_id',
  'reservation_id',
];
const requestId = [
  'request_id',
  'provider_request_id',
  'x-request-id',
  'generation_id',
  'response_id',
];
const cost = ['cost_usd', 'cost', 'spend', 'cost_total', 'total_cost'];
const inputTokens = ['input_tokens', 'prompt_tokens', 'tokens_in', 'tokens_prompt'];
const outputTokens = ['output_tokens', 'completion_tokens', 'tokens_out', 'tokens_completion'];
const cachedTokens = ['cached_tokens', 'cached_input_tokens', 'cache_read_input_tokens'];
const at = ['at', 'timestamp', 'created_at', 'starttime', 'start_time', 'started_at'];

export const callLog: CallShape = {
  kind: 'calls',
  name: 'call-log',
  columns: [[...clientId, ...requestId], cost],
  read: (row) => {
    const amount = amountOf(row, cost);
    if (amount === null) throw badValue(row, cost, 'no value; every call needs its cost');
    if (amount.atto < 0n) throw badValue(row, cost, 'a call costs no negative amount');
    return {
      line: row.line,
      clientId: textOf(row, clientId),
      requestId: textOf(row, requestId),
      amount,
      inputTokens: countOf(row, inputTokens),
      cachedTokens: countOf(row, cachedTokens),
      outputTokens: countOf(row, outputTokens),
      at: timeOf(row, at),
    };
  },
};
