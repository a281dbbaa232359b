import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, expect, test, vi } from 'vitest';
import { createPipe } from '../../../src/worker/batches/pipe.ts';
import { silentLog } from '../../support/llm-attempt.ts';

interface Request {
  readonly jobId: string;
}

afterEach(() => vi.useRealTimers());

/** A pipe whose statements return at once, and the sizes of those that were sent. */
function openPipe() {
  const sent: number[] = [];
  const add = createPipe<Request, string>({
    name: 'test',
    log: silentLog,
    limits: { max: 1_000, maxBytes: 1_000, bytesOf: () => 0 },
    giveUpMs: 60_000,
    answerWithinMs: 60_000,
    send: async (requests) => {
      sent.push(requests.length);
      return ({ jobId }) => jobId;
    },
    replace: () => undefined,
  });
  let lastId = 0;
  const addMany = (count: number): void => {
    for (let done = 0; done < count; done += 1) {
      lastId += 1;
      void add({ jobId: String(lastId) });
    }
  };
  return { sent, addMany };
}

const fewTurns = async (): Promise<void> => {
  for (let turn = 0; turn < 10; turn += 1) await nextTurn();
};

test('few requests wait for the next statement, which begins as soon as many wait', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  const { sent, addMany } = openPipe();
  addMany(1);
  await fewTurns();
  expect(sent).toEqual([1]);

  addMany(3);
  await fewTurns();
  addMany(3);
  await fewTurns();
  expect(sent).toEqual([1]);

  addMany(20);
  await fewTurns();
  expect(sent).toEqual([1, 26]);

  addMany(2);
  await fewTurns();
  expect(sent).toEqual([1, 26]);
  await vi.advanceTimersByTimeAsync(4);
  await fewTurns();
  expect(sent).toEqual([1, 26, 2]);
});
