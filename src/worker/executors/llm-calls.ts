/**
 * Sends a handler's LLM call from the supervisor, so that a killed thread loses neither its usage nor its hold.
 */
import type { LlmGateway } from '../../llm/create-llm.ts';
import { lateCall } from '../../llm/llm.ts';
import type { Logger } from '../../log.ts';
import type { Assignment } from './assignment.ts';
import type { FromExecutor, ToExecutor } from './protocol.ts';
import { packError } from './packed-errors.ts';

type LlmCallMessage = Extract<FromExecutor, { kind: 'llm_call' }>;

/**
 * Never throws: a failure is sent as the answer, also to a call whose attempt is no longer the executor's: it would
 * wait for ever.
 */
export async function answerLlmCall(
  options: { readonly llm: LlmGateway; readonly log: Logger },
  assignment: Assignment | undefined,
  { callId, call }: LlmCallMessage,
): Promise<Extract<ToExecutor, { readonly callId: number }>> {
  if (assignment === undefined) return { kind: 'llm_error', callId, error: packError(lateCall()) };
  const { attempt, abort } = assignment;
  const { tenantId, jobId, token, jobType } = attempt;
  const log = options.log.child({ jobId, tenantId, jobType });
  const { signal } = abort;
  try {
    const account = { tenantId, jobId, attempt: attempt.attempt, token, signal, log };
    return { kind: 'llm_reply', callId, reply: await options.llm.forAttempt(account).call(call) };
  } catch (error) {
    return { kind: 'llm_error', callId, error: packError(error) };
  }
}
