/** Sends a stream with the fault that a test scripts. */
import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { StreamedToolCall, WireEvents } from './wire-events.ts';

export type StreamFault =
  /** Half of its output, then the connection breaks. */
  | 'cut'
  /** All of its output, then the connection breaks. */
  | 'cut_before_usage'
  /** All but the protocol's last event, then the connection breaks. */
  | 'cut_after_usage'
  /** Half of its output, then nothing for ever. */
  | 'hang'
  /** All of it, and the connection stays open. */
  | 'open_end'
  /** Half of its output, then an error event, and the end. */
  | 'error'
  | 'no_usage'
  | 'double_usage'
  /** A figure on the way and none at the end. */
  | 'usage_in_middle'
  /** An event that is not JSON, and all the rest. */
  | 'garbage';

export interface ScriptedStream {
  readonly kind: 'stream';
  readonly content?: string;
  /** Number of events with text. Default 4. */
  readonly pieces?: number;
  readonly toolCalls?: readonly StreamedToolCall[];
  readonly finishReason?: 'stop' | 'length' | 'refused';
  readonly fault?: StreamFault;
  /** After each event. */
  readonly pauseMs?: number;
  /** Waits for this in the middle of its output. */
  readonly until?: Promise<unknown>;
  /** Line end of its events. Default a line feed. */
  readonly lineEnd?: '\r\n' | '\r';
  /** Sends its text in chunks of so many bytes, whatever they cut. */
  readonly chunkBytes?: number;
}

export async function sendStream(
  response: ServerResponse,
  events: WireEvents,
  script: ScriptedStream,
): Promise<void> {
  const { fault, until, pauseMs } = script;
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
  response.flushHeaders();
  const send = async (texts: readonly string[]): Promise<void> => {
    for (const text of texts) {
      await write(response, text, script);
      if (pauseMs !== undefined) await sleep(pauseMs);
    }
  };
  const half = Math.ceil(events.output.length / 2);
  await send([...events.start, ...events.output.slice(0, half)]);
  if (fault === 'garbage') await send(['data: {"never": "ended\n\n']);
  if (fault === 'usage_in_middle') await send([events.partialUsage]);
  if (until !== undefined) await until;
  if (fault === 'hang') return;
  if (fault === 'cut') return cut(response);
  if (fault === 'error') {
    await send([events.error]);
    response.end();
    return;
  }
  await send([...events.output.slice(half), ...events.finish]);
  if (fault === 'cut_before_usage') return cut(response);
  const isTold = fault !== 'no_usage' && fault !== 'usage_in_middle';
  await send([isTold ? events.usage : events.withoutUsage]);
  if (fault === 'double_usage') await send([events.usage]);
  if (fault === 'cut_after_usage') return cut(response);
  await send(events.end);
  if (fault !== 'open_end') response.end();
}

/** What was written has left before the connection breaks. */
async function cut(response: ServerResponse): Promise<void> {
  await sleep(20);
  response.destroy();
}

/** Waits while the client does not read. */
async function write(
  response: ServerResponse,
  text: string,
  { lineEnd, chunkBytes }: ScriptedStream,
): Promise<void> {
  const bytes = Buffer.from(text.replaceAll('\n', lineEnd ?? '\n'));
  const length = chunkBytes ?? Math.max(1, bytes.length);
  for (let at = 0; at < bytes.length && !response.destroyed; at += length) {
    await new Promise<void>((resolve) => {
      response.once('close', resolve);
      response.write(bytes.subarray(at, at + length), () => {
        response.off('close', resolve);
        resolve();
      });
    });
  }
}
