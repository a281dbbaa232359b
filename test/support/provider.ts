/**
 * A provider on the loopback interface with all wire protocols (test/support/provider-protocols.ts), streams included
 * (test/support/streaming). It fails as scripted, and records what it would bill: every request that it began to
 * process.
 */
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { countOfO200k, countedUsage, speakers, wireProtocols } from './provider-protocols.ts';
import type { CountTokens, WireBody, WireProtocol, WireUsage } from './provider-protocols.ts';
import { reply, sendHuge } from './streaming/replies.ts';
import { sendStream } from './streaming/send-stream.ts';
import type { ScriptedStream } from './streaming/send-stream.ts';
import { wireEvents } from './streaming/wire-events.ts';
import type { BookEntry } from './streaming/book.ts';

/** What the next request meets. `answer` is the normal case. */
export type Scripted =
  | {
      readonly kind: 'answer';
      readonly content?: string;
      /** As it stands in the protocol's body; null leaves it out. */
      readonly usage?: object | null;
      readonly finishReason?: 'stop' | 'length' | 'refused';
      readonly delayMs?: number;
      /** Works until this resolves. */
      readonly until?: Promise<unknown>;
    }
  /** Without a body: the protocol's own error. */
  | {
      readonly kind: 'status';
      readonly status: number;
      readonly headers?: Record<string, string>;
      readonly body?: string;
    }
  /** Works, and never answers. */
  | { readonly kind: 'hang' }
  /** Works, and drops the connection before it answers. */
  | { readonly kind: 'drop' }
  /** Works, sends half of its answer, and drops the connection. */
  | { readonly kind: 'cut' }
  /** Sends its answer one byte at a time, with this pause. */
  | { readonly kind: 'slow'; readonly pauseMs: number }
  /** 200 with this body; JSON unless its type says otherwise. */
  | {
      readonly kind: 'raw';
      readonly body: string;
      readonly type?: string;
      readonly until?: Promise<unknown>;
    }
  /** Tool calls of an answer, and faults of a stream. */
  | ScriptedStream
  /** A body of 100 MB, under 200 or another status; stops when the client goes away. */
  | { readonly kind: 'huge'; readonly status?: number };

interface Received {
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
  readonly body: Omit<WireBody, 'messages'> & {
    readonly messages?: readonly { readonly role: string; readonly content: string }[];
  };
}

export interface TestProvider {
  /** For OPENAI_BASE_URL; `urls` has the base URL of each protocol. */
  readonly url: string;
  readonly urls: Readonly<Record<WireProtocol, string>>;
  /** Every request in order of arrival. */
  readonly received: readonly Received[];
  /** Usage of every request that it would bill; `book` has what an export has of each. */
  readonly billed: readonly WireUsage[];
  readonly book: readonly BookEntry[];
  /** Connections of answers that were begun and have not ended. */
  readonly open: () => number;
  /** Bytes of huge bodies that were taken off its hands. */
  readonly hugeBytesSent: () => number;
  /** Used once each, in order; then `answer`. */
  script(...next: readonly Scripted[]): void;
  /** The content of `answer` when its script has none. */
  answerWith(content: string, usage?: WireUsage): void;
  /** Bills texts by another tokenizer than o200k_base. */
  countWith(count: CountTokens): void;
  stop(): Promise<void>;
}

export const hugeBytes = 100_000_000;

export async function startProvider(apiKey?: string): Promise<TestProvider> {
  const received: Received[] = [];
  const book: BookEntry[] = [];
  const open = new Set<ServerResponse>();
  const scripted: Scripted[] = [];
  let usual: { content: string; usage?: WireUsage } = { content: 'All is well.' };
  let count = countOfO200k;
  let hugeBytesSent = 0;

  const server = createServer((request, response) => {
    serve(request, response).catch((error: unknown) => {
      response.destroy(error instanceof Error ? error : undefined);
    });
  });

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = '';
    request.setEncoding('utf8');
    for await (const chunk of request) text += String(chunk);
    const path = request.url ?? '';
    const speaker = Object.values(speakers).find(({ route }) => route.test(path));
    if (request.method !== 'POST' || speaker === undefined) {
      reply(response, 404, JSON.stringify({ error: { message: `no route ${path}` } }));
      return;
    }
    const body: Received['body'] = JSON.parse(text);
    received.push({ path, headers: request.headers, text, body });
    const requestId = `req-${received.length}`;
    const idHeaders = speaker.idHeaders(requestId);
    for (const [name, value] of Object.entries(idHeaders)) response.setHeader(name, value);
    open.add(response);
    response.once('close', () => open.delete(response));
    const key = speaker.keyOf(request.headers);
    if (apiKey !== undefined && key !== apiKey) {
      const message = `Incorrect API key provided: ${key}.`;
      reply(response, 401, JSON.stringify({ error: { message, code: 'invalid_api_key' } }));
      return;
    }
    const next = scripted.shift() ?? { kind: 'answer' };
    if (next.kind === 'status') {
      const error = next.body ?? JSON.stringify(speaker.error(next.status));
      reply(response, next.status, error, next.headers);
      return;
    }
    const answer = next.kind === 'answer' || next.kind === 'stream' ? next : undefined;
    const content = answer?.content ?? usual.content;
    const toolCalls = (next.kind === 'stream' ? next.toolCalls : undefined) ?? [];
    const written = content + toolCalls.map(({ name, args }) => name + args).join('');
    const usage = usual.usage ?? countedUsage(body, written, count);
    book.push({
      protocol: speaker.protocol,
      model: body.model ?? /models\/([\w.-]+):/.exec(path)?.[1] ?? '',
      usage,
      at: new Date(),
      clientRequestId: request.headers['x-client-request-id']?.toString(),
      requestId,
      text,
    });
    const { finishReason: finish = 'stop' } = answer ?? {};
    const whole = { content, toolCalls, finish, model: body.model, requestId };
    const script = speaker.isStream(path, body) ? streamOf(next) : undefined;
    if (script !== undefined) {
      const { pieces = 4 } = script;
      const events = wireEvents[speaker.protocol]({ ...whole, pieces, billed: usage });
      await sendStream(response, events, script);
      return;
    }
    const given = next.kind === 'answer' ? next.usage : undefined;
    const told = given === undefined ? speaker.usage(usage) : given;
    const answered = JSON.stringify(speaker.answer({ ...whole, usage: told }));
    await work(next.kind === 'stream' ? { kind: 'answer' } : next, response, answered);
  }

  async function work(next: Scripted, response: ServerResponse, answer: string): Promise<void> {
    const head = { 'content-type': 'application/json' };
    switch (next.kind) {
      case 'status':
      case 'hang':
        return;
      case 'drop':
        response.destroy();
        return;
      case 'answer':
        if (next.delayMs !== undefined) await sleep(next.delayMs);
        await next.until;
        reply(response, 200, answer);
        return;
      case 'raw':
        await next.until;
        reply(response, 200, next.body, { 'content-type': next.type ?? 'application/json' });
        return;
      case 'cut':
        response.writeHead(200, { ...head, 'content-length': String(Buffer.byteLength(answer)) });
        response.write(answer.slice(0, answer.length / 2), () => response.destroy());
        return;
      case 'slow':
        response.writeHead(200, head);
        for (const byte of answer) {
          if (response.destroyed) return;
          response.write(byte);
          await sleep(next.pauseMs);
        }
        response.end();
        return;
      case 'huge':
        response.writeHead(next.status ?? 200, head);
        await sendHuge(response, answer, hugeBytes, (sent) => {
          hugeBytesSent += sent;
        });
    }
  }

  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('provider has no port');
  const urlOf = (protocol: WireProtocol) =>
    `http://127.0.0.1:${address.port}${speakers[protocol].basePath}`;
  const [openai, anthropic, google] = wireProtocols;
  return {
    url: urlOf(openai),
    urls: { openai: urlOf(openai), anthropic: urlOf(anthropic), google: urlOf(google) },
    received,
    get billed() {
      return book.map(({ usage }) => usage);
    },
    book,
    open: () => open.size,
    hugeBytesSent: () => hugeBytesSent,
    script: (...next) => {
      scripted.push(...next);
    },
    answerWith: (content, usage) => {
      usual = usage === undefined ? { content } : { content, usage };
    },
    countWith: (next) => {
      count = next;
    },
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** How a script for a whole answer is streamed; undefined where it is not. */
function streamOf(script: Scripted): ScriptedStream | undefined {
  switch (script.kind) {
    case 'answer':
      return { ...script, kind: 'stream', ...(script.usage === null ? { fault: 'no_usage' } : {}) };
    case 'cut':
      return { kind: 'stream', fault: 'cut' };
    case 'slow':
      return { kind: 'stream', pauseMs: script.pauseMs };
    case 'stream':
      return script;
    default:
      return undefined;
  }
}
