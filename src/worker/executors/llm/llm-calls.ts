/**
 * Sends the LLM calls and streams of handlers from the supervisor, so that a killed thread loses neither their usage nor
 * their holds.
 */
import type { AttemptLlm, LlmGateway } from '../../../llm/create-llm.ts';
import { lateCall } from '../../../llm/llm.ts';
import type { LlmReply } from '../../../llm/llm.ts';
import { StreamWindow } from '../../../llm/streams/window.ts';
import type { Logger } from '../../../log.ts';
import type { Assignment } from '../assignment.ts';
import { packError } from '../packed-errors.ts';
import type { FromExecutor, ToExecutor } from '../protocol.ts';

type Message<K extends FromExecutor['kind']> = Extract<FromExecutor, { readonly kind: K }>;

interface Executor {
  find(token: string): Assignment | undefined;
  post(message: ToExecutor): void;
}
interface Options {
  readonly llm: LlmGateway;
  readonly log: Logger;
}

export class LlmCalls {
  readonly #options: Options;
  /** Open streams of each executor, by the id of their call. */
  readonly #windows = new WeakMap<Executor, Map<number, StreamWindow>>();

  constructor(options: Options) {
    this.#options = options;
  }

  /** Handles the messages about LLM calls; others are not for it. */
  receive(executor: Executor, message: FromExecutor): void {
    switch (message.kind) {
      case 'llm_call':
        void this.#answer(executor, message, (llm) => llm.call(message.call));
        return;
      case 'llm_stream':
        void this.#stream(executor, message);
        return;
      case 'llm_stream_read':
        this.#windowOf(executor, message.callId)?.read(message.length);
        return;
      case 'llm_stream_left':
        this.#windowOf(executor, message.callId)?.leave();
        return;
      case 'llm_output_checked':
        this.#options.llm.countAnswer(message.fits);
        return;
      default:
    }
  }

  /**
   * Never throws: a failure is sent as the answer, also to a call whose attempt is no longer the executor's: it would
   * wait for ever. An answer that cannot be cloned becomes an error of the call.
   */
  async #answer(
    executor: Executor,
    { token, callId }: { readonly token: string; readonly callId: number },
    ask: (llm: AttemptLlm) => Promise<LlmReply>,
  ): Promise<void> {
    const assignment = executor.find(token);
    let answer: ToExecutor;
    try {
      if (assignment === undefined) throw lateCall();
      answer = { kind: 'llm_reply', callId, reply: await ask(this.#llmOf(assignment)) };
      executor.post(answer);
    } catch (error) {
      executor.post({ kind: 'llm_error', callId, error: packError(error) });
    }
  }

  async #stream(executor: Executor, message: Message<'llm_stream'>): Promise<void> {
    const { token, callId, call } = message;
    const window = new StreamWindow((text) => executor.post({ kind: 'llm_text', callId, text }));
    const windows = this.#windows.get(executor) ?? new Map<number, StreamWindow>();
    this.#windows.set(executor, windows);
    windows.set(callId, window);
    // Nobody reads after the end of the attempt, however it ends.
    const leave = (): void => window.leave();
    const assignment = executor.find(token);
    if (assignment !== undefined) (assignment.onOver ??= new Set()).add(leave);
    await this.#answer(executor, message, (llm) => llm.stream(call, window));
    assignment?.onOver?.delete(leave);
    windows.delete(callId);
  }

  #windowOf(executor: Executor, callId: number): StreamWindow | undefined {
    return this.#windows.get(executor)?.get(callId);
  }

  #llmOf({ attempt, abort, facts, started, startedAtMs }: Assignment): AttemptLlm {
    const { tenantId, jobId, token, jobType } = attempt;
    return this.#options.llm.forAttempt({
      tenantId,
      jobId,
      attempt: attempt.attempt,
      token,
      signal: abort.signal,
      log: this.#options.log.child({ jobId, tenantId, jobType }),
      deadlineAtMs: started ? startedAtMs + facts.timeoutMs : undefined,
      llmTimeoutMs: facts.llmTimeoutMs,
    });
  }
}
