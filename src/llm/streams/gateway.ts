/**
 * Streams of a provider in its own wire protocol. The SDK writes the request; Purser sends it and reads the events
 * itself, for money and text in one pass: a stream of the SDK costs several times as much processor time in the thread
 * that renews the leases.
 */
import { randomUUID } from 'node:crypto';
import { sdkOptions } from '../prompt/sdk-options.ts';
import type { JsonObject } from '../provider-body.ts';
import { bodyOf, callWith, notWritten, replyOf, requestOf } from '../gateway.ts';
import type { Call, Provider } from '../gateway.ts';
import type { Account } from '../holds.ts';
import type { LlmCall, LlmReply } from '../llm.ts';
import type { Connection } from '../protocol.ts';
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
  const { account, protocol, baseUrl, jsonMode } = call;
  const { url, headers, body } = await writeRequest(call);
  const wireBody = JSON.stringify(protocol.wireBody(body, { baseUrl, jsonMode }));
  const request = { url, headers, body: wireBody, ...requestOf(call) };
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

interface Written {
  readonly url: string;
  readonly headers: Headers;
  readonly body: JsonObject;
}

/** The SDK has no function that only writes: its fetch keeps the request, and fails. */
async function writeRequest(call: Call): Promise<Written> {
  const { protocol, config, baseUrl, model, asked, conversation } = call;
  let written: Written | undefined;
  const fetch: Connection['fetch'] = (input, init) => {
    written = {
      url: input instanceof Request ? input.url : input.toString(),
      headers: new Headers(init?.headers),
      body: bodyOf(init?.body),
    };
    return Promise.reject(new Error('the request is sent later'));
  };
  const sdk = await protocol.open({ baseUrl, apiKey: config.apiKey, fetch }, model);
  try {
    await sdk.doStream(sdkOptions(asked, conversation));
  } catch {
    // By its fetch, or because it cannot write the request.
  }
  if (written === undefined) throw notWritten(model);
  return written;
}
