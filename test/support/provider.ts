/**
 * A provider on the loopback that speaks the chat completions protocol, fails as scripted, and keeps its
 * own book of what it would bill: every request that it started to work on.
 */
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { countTokens } from 'gpt-tokenizer';

interface WireUsage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens?: number;
  readonly prompt_tokens_details?: { readonly cached_tokens: number };
  readonly completion_tokens_details?: { readonly reasoning_tokens: number };
}

/** What the next request meets. `answer` is the normal case. */
export type Scripted =
  | {
      readonly kind: 'answer';
      readonly content?: string;
      /** null leaves usage out of the body. */
      readonly usage?: WireUsage | null;
      readonly finishReason?: 'stop' | 'length';
      readonly delayMs?: number;
    }
  | {
      readonly kind: 'status';
      readonly status: number;
      readonly headers?: Record<string, string>;
      readonly body?: string;
    }
  /** Works, and never answers. */
  | { readonly kind: 'hang' }
  /** Works, sends half of its answer, and drops the connection. */
  | { readonly kind: 'cut' }
  /** Sends its answer one byte at a time, with this pause. */
  | { readonly kind: 'slow'; readonly pauseMs: number }
  /** 200 with this body, whatever it is. */
  | { readonly kind: 'raw'; readonly body: string }
  /** 200 with an endless body; stops when the client goes away. */
  | { readonly kind: 'endless' };

interface Received {
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
  readonly body: {
    readonly model?: string;
    readonly max_tokens?: number;
    readonly response_format?: { readonly type: string };
    readonly messages?: readonly { readonly role: string; readonly content: string }[];
  };
}

export interface TestProvider {
  /** For OPENAI_BASE_URL. */
  readonly url: string;
  /** Every request in order of arrival. */
  readonly received: readonly Received[];
  /** Usage of every request that it would bill. */
  readonly billed: readonly WireUsage[];
  /** Used once each, in order; then `answer`. */
  script(...next: readonly Scripted[]): void;
  /** What `answer` says when its script says nothing. */
  answerWith(content: string, usage?: WireUsage): void;
  stop(): Promise<void>;
}

export async function startProvider(apiKey?: string): Promise<TestProvider> {
  const received: Received[] = [];
  const billed: WireUsage[] = [];
  const scripted: Scripted[] = [];
  let usual: { content: string; usage?: WireUsage } = { content: 'All is well.' };

  const server = createServer((request, response) => {
    serve(request, response).catch((error: unknown) => {
      response.destroy(error instanceof Error ? error : undefined);
    });
  });

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = '';
    request.setEncoding('utf8');
    for await (const chunk of request) text += String(chunk);
    if (request.method !== 'POST' || request.url !== '/v1/chat/completions') {
      reply(response, 404, JSON.stringify({ error: { message: `no route ${request.url}` } }));
      return;
    }
    const body: Received['body'] = JSON.parse(text);
    received.push({ path: request.url, headers: request.headers, text, body });
    if (apiKey !== undefined && request.headers.authorization !== `Bearer ${apiKey}`) {
      const message = `Incorrect API key provided: ${request.headers.authorization?.slice(7)}.`;
      reply(response, 401, JSON.stringify({ error: { message, code: 'invalid_api_key' } }));
      return;
    }
    const next = scripted.shift() ?? { kind: 'answer' };
    if (next.kind === 'status') {
      reply(response, next.status, next.body ?? '', next.headers);
      return;
    }
    const content = (next.kind === 'answer' ? next.content : undefined) ?? usual.content;
    const given = next.kind === 'answer' ? next.usage : undefined;
    const usage = given ?? usual.usage ?? countedUsage(body, content);
    billed.push(usage);
    await work(next, response, completion(body, content, given === null ? null : usage, next));
  }

  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('provider has no port');
  return {
    url: `http://127.0.0.1:${address.port}/v1`,
    received,
    billed,
    script: (...next) => {
      scripted.push(...next);
    },
    answerWith: (content, usage) => {
      usual = usage === undefined ? { content } : { content, usage };
    },
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function reply(
  response: ServerResponse,
  status: number,
  body: string,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(body);
}

async function work(next: Scripted, response: ServerResponse, answer: string): Promise<void> {
  const head = { 'content-type': 'application/json' };
  switch (next.kind) {
    case 'status':
    case 'hang':
      return;
    case 'answer':
      if (next.delayMs !== undefined) await sleep(next.delayMs);
      reply(response, 200, answer);
      return;
    case 'raw':
      reply(response, 200, next.body);
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
    case 'endless':
      response.writeHead(200, head);
      while (!response.destroyed) {
        response.write(' '.repeat(64 * 1024));
        await sleep(1);
      }
  }
}

/** Counted with a real tokenizer, plus what a chat template adds; never more than the cap for output. */
function countedUsage(body: Received['body'], content: string): WireUsage {
  const messages = body.messages ?? [];
  const prompt = messages.reduce((sum, message) => sum + 4 + countTokens(message.content), 3);
  const output = Math.min(countTokens(content), body.max_tokens ?? Number.POSITIVE_INFINITY);
  return { prompt_tokens: prompt, completion_tokens: output, total_tokens: prompt + output };
}

function completion(
  body: Received['body'],
  content: string,
  usage: WireUsage | null,
  next: Scripted,
): string {
  return JSON.stringify({
    id: 'chatcmpl-test',
    object: 'chat.completion',
    created: 1_700_000_000,
    model: body.model,
    choices: [
      {
        index: 0,
        message: { role: 'assistant', content },
        finish_reason: (next.kind === 'answer' ? next.finishReason : undefined) ?? 'stop',
      },
    ],
    ...(usage === null ? {} : { usage }),
  });
}
