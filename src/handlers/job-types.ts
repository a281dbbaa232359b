/**
 * Handlers as rows of `job_types`: what SQL, web and CLI can know of a type without running it.
 */
import { z } from 'zod';
import type { JobType } from '../jobs/registration.ts';
import type { Handler } from './define.ts';

/** JSON Schema of a payload where the schema is zod's; {} (anything) for other libraries. */
function payloadSchemaOf(handler: Handler): object {
  if (!(handler.payload instanceof z.ZodType)) return {};
  try {
    return z.toJSONSchema(handler.payload, { io: 'input', unrepresentable: 'any' });
  } catch {
    return {};
  }
}

export function toJobType(handler: Handler): JobType {
  return {
    type: handler.type,
    timeoutMs: handler.timeoutMs,
    maxAttempts: handler.maxAttempts,
    onBudget: handler.onBudget,
    giveUpAfterMs: handler.giveUpAfterMs,
    payloadSchema: payloadSchemaOf(handler),
    secretPaths: handler.secretPaths,
  };
}
