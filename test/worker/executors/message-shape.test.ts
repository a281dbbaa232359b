/** The check of an executor's messages: every kind passes as it is sent, and no longer when a field is missing or wrong. */
import { describe, expect, it } from 'vitest';
import { isFromExecutor } from '../../../src/worker/executors/message-shape.ts';
import { packError } from '../../../src/worker/executors/packed-errors.ts';
import type { FromExecutor } from '../../../src/worker/executors/protocol.ts';

const token = 'a-token';
const end = { toState: 'completed', countsAttempt: true, detail: {}, result: null } as const;
const line = { at: '2026-01-01T00:00:00Z', level: 'info', text: 'x' };
const facts = {
  type: 'report',
  timeoutMs: 1,
  maxAttempts: 1,
  onBudget: 'park',
  giveUpAfterMs: 1,
  payloadSchema: {},
  builtin: false,
  concurrency: undefined,
  isolation: 'shared',
  durableBegin: false,
  schedules: [],
  backoff: { baseMs: 0, capMs: 0 },
} as const;
const call = { system: '', prompt: '', json: false, maxOutputTokens: 1 };
const report = { kind: 'report', token, progress: undefined, refusals: 0, decryptionFailures: 0 };
const messages: { [K in FromExecutor['kind']]: Extract<FromExecutor, { readonly kind: K }> } = {
  ready: { kind: 'ready', jobTypes: [facts] },
  load_failed: { kind: 'load_failed', error: packError(new Error('x')) },
  started: { kind: 'started', token },
  aborting: { kind: 'aborting', token, reason: packError(new Error('x', { cause: 'y' })) },
  abort_ignored: { kind: 'abort_ignored', token },
  ended: { kind: 'ended', token, end, runMs: 1.5 },
  report: { ...report, kind: 'report', lines: [line] },
  llm_call: { kind: 'llm_call', token, callId: 1, call },
  llm_stream: { kind: 'llm_stream', token, callId: 1, call },
  llm_stream_read: { kind: 'llm_stream_read', callId: 1, length: 10 },
  llm_stream_left: { kind: 'llm_stream_left', callId: 1 },
  llm_output_checked: { kind: 'llm_output_checked', fits: true },
  left_fault: {
    kind: 'left_fault',
    about: { jobId: '1', jobType: 'report', code: 'unhandled_rejection', reason: 'x' },
  },
  retire: { kind: 'retire', reason: 'x' },
  built_in_changed: { kind: 'built_in_changed', property: 'Date.now', jobTypes: ['report'] },
  foreign: { kind: 'foreign' },
  died: { kind: 'died', cause: { how: 'heap', text: 'x' } },
};
const optional = new Set(['report.progress']);

describe.each(Object.entries(messages))('a message %s', (kind, message) => {
  it('passes as it is sent', () => {
    expect(isFromExecutor(structuredClone(message))).toBe(true);
  });

  it.each(Object.keys(message).filter((key) => key !== 'kind'))(
    'is refused without its %s',
    (key) => {
      const { [key]: _, ...rest }: Record<string, unknown> = { ...message };
      expect(isFromExecutor(rest)).toBe(optional.has(`${kind}.${key}`));
      for (const wrong of [null, {}, Symbol.iterator]) {
        expect(isFromExecutor({ ...message, [key]: wrong })).toBe(
          key === 'call' && wrong !== null && typeof wrong === 'object',
        );
      }
    },
  );
});

it.each<[string, unknown]>([
  ['null', null],
  ['undefined', undefined],
  ['a number', 7],
  ['a text', 'ended'],
  ['an unknown kind', { kind: 'unknown' }],
  ['a kind of every object', { kind: 'toString' }],
  ['a kind that is an object', { kind: {} }],
  ['an end in an unknown state', { kind: 'ended', token, end: { ...end, toState: 'running' } }],
  ['an end at a time that is text', { kind: 'ended', token, end: { ...end, scheduledFor: 'x' } }],
  [
    'an end with an error without code',
    { kind: 'ended', token, end: { ...end, error: { message: 'x' } } },
  ],
  [
    'an error of an unknown class',
    { kind: 'aborting', token, reason: { ...packError('x'), kind: 'toString' } },
  ],
  [
    'an error whose cause is none',
    { kind: 'aborting', token, reason: { ...packError('x'), cause: 7 } },
  ],
  ['lines that are none', { ...report, lines: [null] }],
  ['progress without a number', { ...report, lines: [], progress: { done: 'x', note: null } }],
  ['a negative count', { ...report, lines: [], refusals: -1 }],
  ['a death of an unknown kind', { kind: 'died', cause: { how: 'x', text: 'x' } }],
])('%s is refused', (_, message) => {
  expect(isFromExecutor(message)).toBe(false);
});
