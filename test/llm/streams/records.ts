/** The record of a stream with these events. */
import type { Protocol } from '../../../src/llm/protocol.ts';
import { StreamRecord } from '../../../src/llm/streams/record.ts';
import { requestIdOf } from '../../../src/llm/usage/request-id.ts';

export function recordOf(protocol: Protocol, events: readonly unknown[], hasWholeTokens = false) {
  const record = new StreamRecord({
    read: protocol.readEvents(),
    usageOf: (body) => protocol.usageOf(body),
    requestIdOf: (event) => requestIdOf(protocol, undefined, event),
    hasWholeTokens,
  });
  const text = events
    .map((event) => record.add(typeof event === 'string' ? event : JSON.stringify(event)))
    .join('');
  return { record, text };
}

/** Output tokens of the final figure. */
export const finalOf = (protocol: Protocol, events: readonly unknown[]) => {
  const { counts } = recordOf(protocol, events).record.finalUsage ?? {};
  return counts === undefined ? undefined : (counts.output ?? 0) + (counts.reasoning ?? 0);
};
