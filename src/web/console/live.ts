/**
 * Tells open pages that something has changed; they then load their parts anew. One poller asks the database, however
 * many streams there are, and none while there is no stream. A stream ends by itself within a minute: the browser asks
 * for the next one, which passes the login again, so that a session that ended or a role that fell stops it.
 */
import { Hono } from 'hono';
import { streamSSE } from 'hono/streaming';
import type { Sql } from '../../db/connect.ts';
import { PurserError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { readVersion } from '../../operations/now/version.ts';
import { requireRole } from '../access/route-rules.ts';
import { within } from '../time-limit.ts';
import type { WebEnv } from '../web-env.ts';

export interface LiveOptions {
  readonly sql: Sql;
  readonly log: Logger;
  /** The process stops: streams end at once. */
  readonly stopping?: AbortSignal | undefined;
  readonly paces?: LivePaces | undefined;
}

export interface LivePaces {
  /** Between two questions to the database. Default 2 s. */
  readonly pollMs: number;
  /** Of one stream. Default 50 s. */
  readonly streamMs: number;
}

const defaultPaces: LivePaces = { pollMs: 2_000, streamMs: 50_000 };
const answerMs = 5_000;
/** Routers end what is silent for longer. */
const signOfLifeMs = 15_000;
const maxStreams = 1_000;

type Listener = (version: string) => void;

/** Calls each listener with the version that is known, and with every other one after that. */
class Feed {
  readonly #listeners = new Set<Listener>();
  readonly #options: LiveOptions;
  readonly #pollMs: number;
  #timer: NodeJS.Timeout | undefined;
  #version: string | undefined;

  constructor(options: LiveOptions, pollMs: number) {
    this.#options = options;
    this.#pollMs = pollMs;
  }

  get size(): number {
    return this.#listeners.size;
  }

  /** Returns how to leave. */
  join(listener: Listener): () => void {
    this.#listeners.add(listener);
    if (this.#version !== undefined) listener(this.#version);
    if (this.#listeners.size === 1) this.#poll();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size > 0) return;
      clearTimeout(this.#timer);
      this.#timer = undefined;
      // Nobody looks from now on, so nobody knows what is there.
      this.#version = undefined;
    };
  }

  #poll(): void {
    const timer = setTimeout(
      () => {
        void this.#ask().finally(() => {
          if (this.#timer === timer) this.#poll();
        });
      },
      this.#version === undefined ? 0 : this.#pollMs,
    );
    this.#timer = timer;
  }

  async #ask(): Promise<void> {
    try {
      const version = await within(answerMs, readVersion(this.#options.sql));
      if (version === this.#version || this.#listeners.size === 0) return;
      this.#version = version;
      for (const listener of this.#listeners) listener(version);
    } catch (error) {
      this.#version ??= '';
      this.#options.log.warn({ error }, 'changes_not_read');
    }
  }
}

export function createLive(options: LiveOptions): Hono<WebEnv> {
  const { stopping, paces = defaultPaces } = options;
  const feed = new Feed(options, paces.pollMs);
  const ends = new Set<() => void>();
  stopping?.addEventListener('abort', () => {
    for (const end of ends) end();
  });
  const app = new Hono<WebEnv>();
  app.get('/events', requireRole('viewer'), (c) => {
    if (feed.size >= maxStreams) {
      c.header('Retry-After', '30');
      throw new PurserError('too_many_streams', 'too many pages are open; this one is not live', {
        status: 503,
      });
    }
    return streamSSE(c, async (stream) => {
      await new Promise<void>((resolve) => {
        const send = (event: string, data: string): void => {
          void stream.writeSSE({ event, data, retry: 2_000 });
        };
        const leave = feed.join((version) => send('version', version));
        const signs = setInterval(() => send('alive', ''), signOfLifeMs);
        const timer = setTimeout(end, paces.streamMs);
        function end(): void {
          clearInterval(signs);
          clearTimeout(timer);
          leave();
          ends.delete(end);
          resolve();
        }
        stream.onAbort(end);
        ends.add(end);
        if (stopping?.aborted === true) end();
      });
    });
  });
  return app;
}
