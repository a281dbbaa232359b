/**
 * Checks messages of an executor before the supervisor uses them: code of a handler runs on the other side, so a
 * message can have any shape.
 */
import { isPackedError } from './packed-errors.ts';
import type { FromExecutor } from './protocol.ts';

type Fields = Readonly<Record<string, unknown>>;

const isText = (value: unknown): value is string => typeof value === 'string';
const isFields = (value: unknown): value is Fields => typeof value === 'object' && value !== null;
const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= 0;

const isDuration = (value: unknown): boolean => Number.isFinite(value) && Number(value) >= 0;

const endStates: ReadonlySet<unknown> = new Set([
  'completed',
  'failed',
  'pending',
  'parked',
  'dead_letter',
  'cancelled',
]);
const isDate = (value: unknown): boolean => value === undefined || value instanceof Date;
const isOptional = (value: unknown, type: string): boolean =>
  value === undefined || typeof value === type;

const isEnd = (end: unknown): boolean =>
  isFields(end) &&
  endStates.has(end['toState']) &&
  typeof end['countsAttempt'] === 'boolean' &&
  isFields(end['detail']) &&
  isDate(end['until']) &&
  (end['afterMs'] === undefined || isDuration(end['afterMs'])) &&
  isOptional(end['suspect'], 'boolean') &&
  isOptional(end['neededUsd'], 'string') &&
  (end['error'] === undefined ||
    (isFields(end['error']) && isText(end['error']['code']) && isText(end['error']['message'])));

const isLine = (line: unknown): boolean =>
  isFields(line) && isText(line['at']) && isText(line['level']) && isText(line['text']);

const isProgress = (progress: unknown): boolean =>
  progress === undefined ||
  (isFields(progress) &&
    Number.isFinite(progress['done']) &&
    (progress['note'] === null || isText(progress['note'])));

const isJobType = (facts: unknown): boolean =>
  isFields(facts) && isText(facts['type']) && Number.isFinite(facts['timeoutMs']);

/** One check per kind, so that a new kind does not compile without its check. */
const checks: Readonly<Record<FromExecutor['kind'], (message: Fields) => boolean>> = {
  ready: ({ jobTypes }) => Array.isArray(jobTypes) && jobTypes.every(isJobType),
  load_failed: ({ error }) => isPackedError(error),
  started: ({ token }) => isText(token),
  aborting: ({ token, reason }) => isText(token) && isPackedError(reason),
  abort_ignored: ({ token }) => isText(token),
  ended: ({ token, end, runMs }) => isText(token) && isEnd(end) && isDuration(runMs),
  report: ({ token, lines, progress, refusals, decryptionFailures }) =>
    isText(token) &&
    Array.isArray(lines) &&
    lines.every(isLine) &&
    isProgress(progress) &&
    isCount(refusals) &&
    isCount(decryptionFailures),
  llm_call: ({ token, callId, call }) => isText(token) && isCount(callId) && isFields(call),
  llm_stream: ({ token, callId, call }) => isText(token) && isCount(callId) && isFields(call),
  llm_stream_read: ({ callId, length }) => isCount(callId) && isCount(length),
  llm_stream_left: ({ callId }) => isCount(callId),
  llm_output_checked: ({ fits }) => typeof fits === 'boolean',
  left_fault: ({ about }) =>
    isFields(about) &&
    isOptional(about['jobId'], 'string') &&
    isOptional(about['jobType'], 'string') &&
    isText(about['code']) &&
    isText(about['reason']),
  retire: ({ reason }) => isText(reason),
  built_in_changed: ({ property, jobTypes }) =>
    isText(property) && Array.isArray(jobTypes) && jobTypes.every(isText),
  foreign: () => true,
  died: ({ cause }) =>
    isFields(cause) &&
    isText(cause['text']) &&
    ['heap', 'ended', 'process'].includes(String(cause['how'])),
};

export function isFromExecutor(message: unknown): message is FromExecutor {
  if (!isFields(message)) return false;
  const { kind } = message;
  return isText(kind) && Object.hasOwn(checks, kind) && checkOf(kind)(message);
}

// hasOwn has proved that it is a kind.
// oxlint-disable-next-line typescript/no-unsafe-type-assertion
const checkOf = (kind: string) => checks[kind as FromExecutor['kind']];
