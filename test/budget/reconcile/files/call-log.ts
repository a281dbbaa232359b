/** The log of a gateway, made from the test provider's own book. */
import { usdOf } from '../faulty-calls.ts';
import type { Billed } from '../faulty-calls.ts';
import { csv } from './sums.ts';

/** One row per call: the log of a gateway. */
export function callLogFile(billed: readonly Billed[]): string {
  return csv([
    [
      'client_request_id',
      'request_id',
      'timestamp',
      'model',
      'prompt_tokens',
      'completion_tokens',
      'cost_usd',
    ],
    ...billed.map(({ entry, reservationId, atto }) => [
      entry.clientRequestId ?? reservationId,
      entry.requestId,
      entry.at.toISOString(),
      entry.model,
      String(entry.usage.prompt_tokens),
      String(entry.usage.completion_tokens),
      usdOf(atto, 12),
    ]),
  ]);
}
