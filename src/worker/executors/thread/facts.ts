/** The job types of the handlers that an executor loaded, as the supervisor knows them. */
import { isBuiltin } from '../../../handlers/index.ts';
import type { HandlerRegistry } from '../../../handlers/index.ts';
import { toJobType } from '../../../handlers/job-types.ts';
import type { JobTypeFacts } from '../protocol.ts';

export const factsOf = (registry: HandlerRegistry): JobTypeFacts[] =>
  [...registry.values()].map((handler) => ({
    ...toJobType(handler),
    builtin: isBuiltin(handler.type),
    concurrency: handler.concurrency,
    llmTimeoutMs: handler.llmTimeoutMs,
    isolation: handler.isolation,
    durableBegin: handler.durableBegin,
    backoff: handler.backoff,
    schedules: handler.schedules ?? [],
  }));
