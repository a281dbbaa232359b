/** How a stream fails for its handler, once its hold has ended. */
import { LlmError } from '../llm.ts';
import { BodyTooLarge } from '../provider-body.ts';
import { readProviderError } from '../provider-error.ts';
import { failureOf } from '../send.ts';
import type { SendRequest } from '../send.ts';
import type { StreamRecord } from './record.ts';

type Outcome = 'unknown' | 'settled';

export interface StreamEnd {
  readonly record: StreamRecord;
  /** What the reading threw. */
  readonly broken: unknown;
  /** The reading was ended on purpose, after its reader had left. */
  readonly isCut: boolean;
  readonly outcome: Outcome;
}

const tooLarge = ({ maxResponseBytes, maxOutputTokens, protocol }: SendRequest): string =>
  `sent more than ${maxResponseBytes} bytes for an answer of at most ${maxOutputTokens} tokens; check ` +
  protocol.baseUrlVariable;

const charged: Readonly<Record<Outcome, string>> = {
  unknown: 'it may have been billed, so its worst case stays charged',
  settled: 'it was charged by its usage',
};

/** undefined where the answer is whole and was charged. */
export function failureOfStream(request: SendRequest, end: StreamEnd): LlmError | undefined {
  const { record, broken, isCut, outcome } = end;
  const { protocol, url } = request;
  const { host } = new URL(url);
  const failed = (code: string, what: string, more: Record<string, unknown> = {}) =>
    new LlmError(code, `${host} ${what}; ${charged[outcome]}`, {
      class: 'retry',
      outcome,
      host,
      ...more,
    });
  if (record.error !== undefined) {
    const { code } = readProviderError(JSON.stringify(record.error), '', request.apiKey);
    const named = code === undefined ? '' : ` (${code})`;
    const more = code === undefined ? {} : { providerCode: code };
    return failed('llm_provider_error', `failed in the middle of its stream${named}`, more);
  }
  if (broken instanceof BodyTooLarge) {
    return failed('llm_response_too_large', tooLarge(request), { class: 'fatal' });
  }
  if (outcome === 'unknown') {
    if (broken !== undefined) {
      return failureOf(broken, request, { aborted: isCut, timedOut: false });
    }
    return failed(
      'llm_bad_response',
      `ended its stream without a final usage; check that ${protocol.baseUrlVariable} speaks ${protocol.name} ` +
        'and reports the usage of streams',
    );
  }
  if (!record.isWhole) return failed('llm_connection_lost', 'ended its stream in the middle');
  if (record.isMalformed) {
    return failed('llm_bad_response', `did not answer with the events of ${protocol.name}`);
  }
  return undefined;
}

/** Of a handler that reads no more, because its attempt ended. */
export const attemptEnded = (host: string): LlmError =>
  new LlmError(
    'llm_aborted',
    `the attempt ended while ${host} was working; its stream is read on for its usage, and without that its worst ` +
      'case stays charged',
    { class: 'retry', outcome: 'unknown', host },
  );

export const streamTimedOut = (host: string, timeoutMs: number, isUnread: boolean): LlmError =>
  new LlmError(
    'llm_timeout',
    `${host} did not finish its stream within ${timeoutMs} ms${isUnread ? ', of which the handler left a part unread' : ''}; ` +
      'it is read on for its usage, and without that its worst case stays charged; raise LLM_TIMEOUT_SECONDS (or ' +
      'timeoutMs of this call) if it needs longer',
    { class: 'retry', outcome: 'unknown', host },
  );
