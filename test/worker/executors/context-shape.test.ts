/** What a context is, and that a collection of young objects removes it. */
import { getHeapSpaceStatistics } from 'node:v8';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { SecretTexts } from '../../../src/crypto/secrets/texts.ts';
import { defineHandler } from '../../../src/handlers/define.ts';
import type { JobContext } from '../../../src/handlers/define.ts';
import { AbortSource } from '../../../src/worker/executors/abort-source.ts';
import { makeContext } from '../../../src/worker/executors/thread/attempt-context.ts';
import { AttemptLog } from '../../../src/worker/executors/thread/attempt-log.ts';
import { ContextParts } from '../../../src/worker/executors/thread/context-parts.ts';
import { OpenCalls } from '../../../src/worker/executors/thread/open-calls.ts';
import { PendingCalls } from '../../../src/worker/executors/thread/pending-calls.ts';

const handler = defineHandler({
  type: 'test_step',
  timeoutMs: 1_000,
  maxAttempts: 1,
  payload: z.object({}),
  run: async () => {},
});

/** No statement is sent: what the context opens is opened at the first one. */
function contextOf(jobId: string): JobContext<unknown> {
  const post = (): void => {};
  const services = {
    registry: new Map(),
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion
    tenant: {} as never,
    openKeys: () => {
      throw new Error('no keys');
    },
    logLevel: 'silent',
    stderr: { write: post },
    post,
  };
  const llmCalls = new PendingCalls(post);
  const secrets = new SecretTexts();
  const attempt = {
    jobId,
    tenantId: 'tenant-1',
    jobType: handler.type,
    payload: '{}',
    attempt: 1,
    maxAttempts: 1,
    token: `token-${jobId}`,
    isolated: false,
    isolatedCrashes: 0,
  };
  const parts = new ContextParts(
    { services, llmCalls, isRunning: () => true },
    {
      attempt,
      handler,
      abort: new AbortSource(),
      secrets,
      reports: new AttemptLog(post, secrets),
      calls: new OpenCalls(),
    },
  );
  return makeContext(parts, {});
}

const oldBytes = (): number =>
  getHeapSpaceStatistics().find(({ space_name: name }) => name === 'old_space')?.space_used_size ??
  0;

it('contexts that nobody holds do not grow old', () => {
  const contexts = 10_000;
  /** Bytes in old space per context that was made. */
  const grown = (): number => {
    const before = oldBytes();
    for (let made = 0; made < contexts; made += 1) contextOf(String(made));
    return (oldBytes() - before) / contexts;
  };
  // A full collection in between can hide it once.
  const rounds = Array.from({ length: 5 }, grown).toSorted((a, b) => a - b);
  expect(rounds[2]).toBeLessThan(100);
});

it('a copy, a proxy and an heir of a context have all that it has', () => {
  const context = contextOf('7');
  const proxy = new Proxy(context, {});
  const heir: typeof context = Object.create(context);
  for (const other of [{ ...context }, proxy, heir]) {
    expect([other.jobId, other.log, other.sql, other.llm, other.signal, other.enqueue]).toEqual([
      '7',
      context.log,
      context.sql,
      context.llm,
      context.signal,
      context.enqueue,
    ]);
    expect(other.signal).toBe(context.signal);
  }
  expect(Object.keys(context).toSorted()).toEqual([
    'attempt',
    'enqueue',
    'jobId',
    'llm',
    'log',
    'payload',
    'progress',
    'signal',
    'sql',
    'tenantId',
    'token',
  ]);
});

it('what a context hides shows a handler nothing that the context does not show', () => {
  const context = contextOf('7');
  const [symbol] = Object.getOwnPropertySymbols(context);
  const hidden: unknown = Reflect.get(context, symbol ?? '');
  if (hidden === null || typeof hidden !== 'object') throw new Error('nothing is hidden');
  expect(Reflect.ownKeys(hidden)).toEqual([]);
  const shared: object = Object.getPrototypeOf(hidden);
  const names = Reflect.ownKeys(shared).map(String).toSorted();
  expect(names).toEqual(['constructor', 'enqueue', 'llm', 'log', 'signal', 'sql']);
  // It is that of the contexts of other tenants too.
  expect(Object.isFrozen(shared)).toBe(true);
});
