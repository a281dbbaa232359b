/**
 * The LLM door's side of a handler's call: it stands with the supervisor, so that a thread that is killed
 * loses no usage and no hold.
 */
import type { LlmDoor } from '../../llm/create-llm.ts';
import type { Logger } from '../../log.ts';
import type { Assignment } from './assignment.ts';
import type { FromExecutor, ToExecutor } from './protocol.ts';
import { packError } from './packed-errors.ts';

type LlmCallMessage = Extract<FromExecutor, { kind: 'llm_call' }>;

/** Never throws: what went wrong is the answer. */
export async function answerLlmCall(
  options: { readonly llm: LlmDoor; readonly log: Logger },
  { attempt, controller }: Assignment,
  { callId, call }: LlmCallMessage,
): Promise<ToExecutor> {
  const { tenantId, jobId, token, jobType } = attempt;
  const log = options.log.child({ jobId, tenantId, jobType });
  const { signal } = controller;
  try {
    const account = { tenantId, jobId, attempt: attempt.attempt, token, signal, log };
    return { kind: 'llm_reply', callId, reply: await options.llm.forAttempt(account).call(call) };
  } catch (error) {
    return { kind: 'llm_error', callId, error: packError(error) };
  }
}
