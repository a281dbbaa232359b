/**
 * Streams of a provider in its own wire protocol. The SDK writes the request; Purser sends it and reads the events
 * itself, for money and text in one pass: a stream of the SDK costs several times as much processor time in the thread
 * that renews the leases.
 */
import { randomUUID } from 'node:crypto';
import { callWith } from '../ladder/ladder.ts';
import { writeRequest } from '../ladder/write-request.ts';
import { replyOf, requestOf } from '../gateway.ts';
import type { Call, Provider } from '../gateway.ts';
import type { Account } from '../holds.ts';
import type { LlmCall, LlmReply } from '../llm.ts';
import type { Drains } from './drains.ts';
import { exchangeStream } from './exchange-stream.ts';
import type { StreamReader } from './exchange-stream.ts';

/** Throws what `CallLlm` throws. The text goes to the reader; the reply has none. */
export type StreamLlm = (call: LlmCall, reader: StreamReader) => Promise<LlmReply>;

/** Streams on one attempt's account. */
export const createProviderStreams =
  (provider: Provider, drains: Drains) =>
  (account: Account): StreamLlm =>
  (asked, reader) =>
    callWith(provider, account, asked, (call) => streamOnce(call, reader, drains));

async function streamOnce(call: Call, reader: StreamReader, drains: Drains): Promise<LlmReply> {
  const { account } = call;
  const request = { ...(await writeRequest(call)), ...requestOf(call) };
  const { record, ...exchanged } = await exchangeStream(account, request, reader, drains);
  const { finish = 'stop', hasText } = record;
  const toolCalls = record.toolCalls.map(({ id, signature, ...toolCall }) => ({
    ...toolCall,
    // Google has none.
    id: id === '' ? `call_${randomUUID()}` : id,
    ...(signature === '' ? {} : { signature }),
  }));
  const isEmpty = !hasText && toolCalls.length === 0;
  return replyOf(call, { text: '', isEmpty, finishReason: finish, toolCalls, exchanged });
}
