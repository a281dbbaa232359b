/** The contexts of all attempts have one hidden class: with one for each, V8 keeps ended attempts until a full collection. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
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

setFlagsFromString('--allow-natives-syntax');
// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what the text evaluates to
const haveSameMap = runInNewContext('(a, b) => %HaveSameMap(a, b)') as (
  a: object,
  b: object,
) => boolean;

it('contexts of two attempts have the same hidden class', () => {
  const [first, second] = [contextOf('1'), contextOf('2')];
  expect(haveSameMap({ a: 1 }, { b: 1 })).toBe(false);
  expect(haveSameMap(first, second)).toBe(true);
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
