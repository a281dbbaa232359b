/** Reads the events of a response into a record, in bounded memory. */
import { BodyTooLarge, parseObject, readBody } from '../provider-body.ts';
import type { SendRequest } from '../send.ts';
import type { StreamRecord } from './record.ts';
import { ServerEvents } from './server-events.ts';

/** What an event has around one token; a stream has at most so much per token of its cap. */
const maxBytesPerToken = 1024;

/** How long the body may stay open after its last event. */
const restMs = 1_000;

type Limits = Pick<SendRequest, 'maxResponseBytes' | 'maxOutputTokens' | 'protocol'>;

/** Returns what broke the stream; undefined where it ended in order. `take` may hold up the reading. */
export async function readStream(
  response: Response,
  limits: Limits,
  record: StreamRecord,
  take: (text: string) => Promise<void>,
): Promise<unknown> {
  try {
    if (isJson(response)) {
      // A server that cannot stream.
      record.addAnswer(parseObject(await readBody(response, limits.maxResponseBytes)));
      return undefined;
    }
    if (response.body !== null) await readEvents(response.body, limits, record, take);
    return undefined;
  } catch (error) {
    return error ?? new Error('the stream broke');
  }
}

async function readEvents(
  body: ReadableStream<Uint8Array>,
  { maxResponseBytes, maxOutputTokens }: Limits,
  record: StreamRecord,
  take: (text: string) => Promise<void>,
): Promise<void> {
  const events = new ServerEvents();
  const maxBytes = maxResponseBytes + maxOutputTokens * maxBytesPerToken;
  let bytes = 0;
  const add = async (data: readonly string[]): Promise<void> => {
    let text = '';
    for (const one of data) text += record.add(one);
    if (record.outputBytes > maxResponseBytes) throw new BodyTooLarge();
    await take(text);
  };
  const chunks = body.getReader();
  try {
    for (let next = await chunks.read(); !next.done; next = await chunks.read()) {
      bytes += next.value.byteLength;
      if (bytes > maxBytes) throw new BodyTooLarge();
      await add(events.push(next.value));
      if (record.hasEnded) {
        void readRest(chunks);
        return;
      }
    }
    await add(events.end());
  } catch (error) {
    await chunks.cancel().catch(() => {});
    throw error;
  }
}

/** Nothing of the stream follows. A body that is read to its end leaves its connection to the next request. */
async function readRest(chunks: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
  const timer = setTimeout(() => void chunks.cancel().catch(() => {}), restMs);
  timer.unref();
  try {
    while (!(await chunks.read()).done);
  } catch {
    // It broke, after all of it had come.
  }
  clearTimeout(timer);
}

const isJson = ({ headers }: Response): boolean =>
  /^\s*application\/json\b/i.test(headers.get('content-type') ?? '');
