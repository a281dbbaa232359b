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

interface Executor {
  find(token: string): Assignment | undefined;
  post(message: ToExecutor): void;
}
interface Options {
  readonly llm: LlmGateway;
  readonly log: Logger;
}

/**
 * Never throws: a failure is sent as the answer, also to a call whose attempt is no longer the executor's: it would
 * wait for ever. An answer that cannot be cloned becomes an error of the call.
 */
export async function answerLlmCall(
  options: Options,
  executor: Executor,
  message: LlmCallMessage,
): Promise<void> {
  const { callId } = message;
  const answer = await answerTo(options, executor.find(message.token), message);
  try {
    executor.post(answer);
  } catch (error) {
    executor.post({ kind: 'llm_error', callId, error: packError(error) });
  }
}

async function answerTo(
  options: Options,
  assignment: Assignment | undefined,
  { callId, call }: LlmCallMessage,
): Promise<ToExecutor> {
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
