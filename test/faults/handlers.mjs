/**
 * Handlers of the fault suites (PURSER_HANDLERS): ordinary ones, which insert into fault_effects, and ones that
 * misbehave in the way that their payload names.
 */
import { existsSync } from 'node:fs';
import { culprits } from './culprits/handlers.mjs';

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** One row per attempt that ran. */
const trace = (ctx, kind, sql = ctx.sql) => sql`
  insert into public.fault_effects (tenant_id, job_id, attempt, token, kind)
  values (${ctx.tenantId}, ${ctx.jobId}, ${ctx.attempt}, ${ctx.token}, ${kind})`;

/** Waits until a file exists or, with `obeys`, until the attempt is aborted. */
async function untilOpen(ctx, gate, obeys = true) {
  const isShut = () => gate !== undefined && !existsSync(gate);
  while (isShut()) {
    if (obeys) ctx.signal.throwIfAborted();
    await pause(20);
  }
}

/** The SQLSTATE that `act` fails with, or `done`. */
const answerTo = async (act) => {
  try {
    await act();
    return 'done';
  } catch (error) {
    return String(error?.code ?? error);
  }
};

const shared = { timeoutMs: 120_000, maxAttempts: 3, backoff: { baseMs: 100, capMs: 500 } };

export const handlers = [
  {
    // payload: gate?, ms?, result?, completes? (commit the effect together with the completion)
    ...shared,
    type: 'fault_work',
    run: async (ctx) => {
      const { gate, ms = 0, result = 'done', completes } = ctx.payload;
      await trace(ctx, 'begun');
      await untilOpen(ctx, gate);
      await pause(ms);
      if (!completes) return result;
      return ctx.sql.begin(
        async (tx) => {
          await trace(ctx, 'completion', tx);
          return result;
        },
        { complete: true },
      );
    },
  },
  {
    // Short without a gate; with one it leaves a trace, and waits: payload gate?
    ...shared,
    type: 'fault_short',
    run: async (ctx) => {
      const { gate } = ctx.payload;
      if (gate === undefined) return;
      await trace(ctx, 'begun');
      await untilOpen(ctx, gate);
    },
  },
  {
    // Rests without a trace: payload gate?, ms?
    ...shared,
    type: 'fault_rest',
    run: async (ctx) => {
      await untilOpen(ctx, ctx.payload.gate);
      await pause(ctx.payload.ms ?? 0);
      return { attempt: ctx.attempt, nul: ctx.payload.nul ? 'a\u0000b' : undefined };
    },
  },
  {
    // Small statements and short pauses until payload.gate is open, and for payload.ms after that.
    ...shared,
    type: 'fault_io',
    run: async (ctx) => {
      const { gate, ms = 0 } = ctx.payload;
      let end;
      do {
        await ctx.sql`select count(*) from public.fault_effects`;
        await pause(20);
        if (gate === undefined || existsSync(gate)) end ??= Date.now() + ms;
      } while (end === undefined || Date.now() < end);
      return { attempt: ctx.attempt };
    },
  },
  {
    // Its timeout is shorter than the loop's beside it, and long enough for cores that loops keep busy.
    ...shared,
    type: 'fault_io_brief',
    timeoutMs: 5_000,
    run: async (ctx) => {
      await ctx.sql`select 1`;
      await pause(100);
      return { attempt: ctx.attempt };
    },
  },
  {
    /**
     * Stops for nothing: calls the LLM when payload.spends, waits for payload.gate, and then tries what a
     * stale attempt may not do. A later attempt of the job waits for payload.laterGate only.
     */
    ...shared,
    type: 'fault_stubborn',
    run: async (ctx) => {
      const { gate, laterGate, spends } = ctx.payload;
      const seen = await ctx.sql`
        select 1 from public.fault_effects where job_id = ${ctx.jobId} and kind = 'begun'`;
      await trace(ctx, 'begun');
      if (seen.length > 0) {
        await untilOpen(ctx, laterGate);
        return { by: 'later attempt' };
      }
      const call = spends
        ? answerTo(() => ctx.llm.generate({ system: 's', prompt: 'p', maxOutputTokens: 10 }))
        : 'none';
      await untilOpen(ctx, gate, false);
      const plain = await answerTo(() => trace(ctx, 'stale'));
      const complete = await answerTo(() =>
        ctx.sql.begin((tx) => trace(ctx, 'stale completion', tx), { complete: true }),
      );
      const child = await answerTo(() => ctx.enqueue('fault_rest', {}));
      const answers = `plain ${plain}, complete ${complete}, child ${child}, call ${await call}`;
      ctx.log.warn({ jobId: ctx.jobId, answers }, 'stale_attempt_was_told');
      return { by: 'first attempt' };
    },
  },
  ...culprits,
];
