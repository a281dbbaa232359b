/**
 * The job that asks an app's `lookUpUsage` hook about calls of unknown outcome. Its result is what the hook said; the
 * scheduler's sweep settles by it.
 */
import { z } from 'zod';
import { answerForms, lookUpAnswer, lookUpJobType } from '../budget/look-up/answer.ts';
import type { LookUpAnswer } from '../budget/look-up/answer.ts';
import { codeOf } from '../errors.ts';
import { defineHandler } from './define.ts';
import type { Handler, JobContext } from './define.ts';

/** A call whose answer was lost. */
export interface UnknownCall {
  readonly tenantId: string;
  readonly reservationId: string;
  /** The protocol: openai, anthropic or google. */
  readonly provider: string;
  /** Who sells the call: an id of the published prices, or the host of the base URL. */
  readonly seller: string | undefined;
  readonly model: string;
  /** Whose key the call had: `platform`, or the tenant's own. */
  readonly providerKey: string;
  /** The provider's id of the request, where its answer began. */
  readonly requestId: string | undefined;
  /** What was sent as `X-Client-Request-Id`. */
  readonly clientRequestId: string | undefined;
  readonly sentAt: Date;
  /** Aborts after 10 seconds. */
  readonly signal: AbortSignal;
}

/** undefined: not known (yet); the call is asked for again later. */
export type LookUpUsage = (call: UnknownCall) => Promise<LookUpAnswer | undefined>;

const callTimeoutMs = 10_000;
const maxCalls = 20;

const payload = z.object({
  calls: z
    .array(
      z.object({
        reservationId: z.string(),
        provider: z.string(),
        seller: z.string().nullable(),
        model: z.string(),
        providerKey: z.string(),
        requestId: z.string().nullable(),
        sentAt: z.iso.datetime(),
      }),
    )
    .max(maxCalls),
});
type Context = JobContext<z.output<typeof payload>>;
type Asked = z.output<typeof payload>['calls'][number];

export const usageLookUp = (hook: LookUpUsage, withinMs = callTimeoutMs): Handler<typeof payload> =>
  defineHandler({
    type: lookUpJobType,
    timeoutMs: maxCalls * callTimeoutMs + 30_000,
    maxAttempts: 1,
    giveUpAfterMs: 3_600_000,
    concurrency: 1,
    payload,
    run: async (ctx) => {
      const answers: { reservationId: string; answer: LookUpAnswer }[] = [];
      for (const call of ctx.payload.calls) {
        ctx.signal.throwIfAborted();
        const answer = await ask(ctx, hook, { call, withinMs });
        if (answer !== undefined) answers.push({ reservationId: call.reservationId, answer });
      }
      return { asked: ctx.payload.calls.length, answers };
    },
  });

/** What a failing hook says may have a key or a prompt in it, so only its kind and its code are logged. */
async function ask(
  ctx: Context,
  hook: LookUpUsage,
  { call, withinMs }: { call: Asked; withinMs: number },
): Promise<LookUpAnswer | undefined> {
  const { reservationId, provider } = call;
  const timeout = AbortSignal.timeout(withinMs);
  const signal = AbortSignal.any([ctx.signal, timeout]);
  try {
    const given: unknown = await withinTime(signal, () =>
      hook({
        tenantId: ctx.tenantId,
        reservationId,
        provider,
        seller: call.seller ?? undefined,
        model: call.model,
        providerKey: call.providerKey,
        requestId: call.requestId ?? undefined,
        clientRequestId: provider === 'openai' ? reservationId : undefined,
        sentAt: new Date(call.sentAt),
        signal,
      }),
    );
    if (given === undefined || given === null) return undefined;
    const answer = lookUpAnswer.safeParse(given);
    if (answer.success) return answer.data;
    ctx.log.warn({ reservationId, expected: answerForms }, 'look_up_answer_invalid');
  } catch (error) {
    const kind = error instanceof Error ? error.name : typeof error;
    const why = timeout.aborted ? 'timeout' : namedCode(codeOf(error));
    ctx.log.warn({ reservationId, kind: namedCode(kind), code: why }, 'look_up_failed');
  }
  return undefined;
}

const namedCode = (text: string): string => (/^\w{1,60}$/.test(text) ? text : 'unknown');

/** Does not wait for a hook that ignores its signal. */
async function withinTime<T>(signal: AbortSignal, run: () => Promise<T>): Promise<T> {
  const ended = new AbortController();
  const aborted = new Promise<never>((_, reject) => {
    const late = (): void => reject(new DOMException('the look-up took too long', 'TimeoutError'));
    signal.addEventListener('abort', late, { once: true, signal: ended.signal });
  });
  try {
    return await Promise.race([run(), aborted]);
  } finally {
    ended.abort();
  }
}
