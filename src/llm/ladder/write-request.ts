/** Writes a request to a provider with the SDK, without sending it. */
import { bodyOf, notWritten } from '../gateway.ts';
import type { Call } from '../gateway.ts';
import { sdkOptions } from '../prompt/sdk-options.ts';
import type { Connection } from '../protocol.ts';
import type { JsonObject } from '../provider-body.ts';

export interface Written {
  readonly url: string;
  readonly headers: Headers;
  /** As it will be sent. */
  readonly body: string;
}

/** As a stream. The SDK has no function that only writes: its fetch keeps the request, and fails. */
export async function writeRequest(call: Call): Promise<Written> {
  const { protocol, config, baseUrl, model, asked, conversation, jsonMode } = call;
  let written: { url: string; headers: Headers; body: JsonObject } | undefined;
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
  const { url, headers, body } = written;
  return { url, headers, body: JSON.stringify(protocol.wireBody(body, { baseUrl, jsonMode })) };
}
