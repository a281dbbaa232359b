/** The stream that a handler reads, with a gateway that the test plays. */
import { describe, expect, it } from 'vitest';
import { createHandlerLlm } from '../../../src/llm/handler-llm.ts';
import { leftStream } from '../../../src/llm/llm.ts';
import type { LlmReply } from '../../../src/llm/llm.ts';

const question = { system: 'Be brief.', prompt: 'Well?', maxOutputTokens: 10 };
const reply = {
  text: '',
  usage: { inputTokens: 1, outputTokens: 1 },
  costUsd: '0.1',
  analyst: { provider: 'test', model: 'm', offline: false },
};

function openStream() {
  let send: (text: string) => void = () => {};
  let end: (reply: LlmReply) => void = () => {};
  let fail: (error: unknown) => void = () => {};
  const seen = { opened: 0, read: 0, left: 0 };
  const llm = createHandlerLlm(() => Promise.reject(new Error('not called')), undefined, {
    open: (_call, onText) => {
      seen.opened += 1;
      send = onText;
      return {
        reply: new Promise((resolve, reject) => {
          end = resolve;
          fail = reject;
        }),
        read: (length) => {
          seen.read += length;
        },
        leave: () => {
          seen.left += 1;
          fail(leftStream());
        },
      };
    },
    track: (run) => run(),
  });
  const stream = llm.stream(question);
  const iterator = stream[Symbol.asyncIterator]();
  return {
    stream,
    iterator,
    seen,
    send: (text: string) => send(text),
    end: () => end(reply),
    fail: (error: unknown) => fail(error),
  };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('a stream', () => {
  it('is opened by its first use, and never gives half of a character', async () => {
    const { iterator, send, end, stream, seen } = openStream();
    await turn();
    expect(seen.opened).toBe(0);
    const first = iterator.next();
    await turn();
    send('a\ud83d');
    expect(await first).toEqual({ done: false, value: 'a' });
    const second = iterator.next();
    send('\ude00b');
    expect(await second).toEqual({ done: false, value: '\ud83d\ude00b' });
    const third = iterator.next();
    send('\ud83d');
    end();
    // Nothing follows that could make it whole.
    expect(await third).toEqual({ done: false, value: '\ud83d' });
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
    expect((await stream.answer).text).toBe('a\ud83d\ude00b\ud83d');
    expect(seen).toEqual({ opened: 1, read: 5, left: 0 });
  });

  it('tells what was read when it was read, and all of it at once where only the answer is awaited', async () => {
    const { iterator, send, end, stream, seen } = openStream();
    const first = iterator.next();
    await turn();
    send('ab');
    await first;
    send('cd');
    send('ef');
    expect(seen.read).toBe(2);
    const { answer } = stream;
    expect(seen.read).toBe(6);
    send('gh');
    expect(seen.read).toBe(8);
    expect(await iterator.next()).toEqual({ done: false, value: 'cdefgh' });
    end();
    expect((await answer).text).toBe('abcdefgh');
    expect(seen.read).toBe(8);
  });

  it('wakes every reader that waits', async () => {
    const { iterator, send, end } = openStream();
    const all = [iterator.next(), iterator.next(), iterator.next()];
    await turn();
    send('a');
    end();
    const ended = (await Promise.all(all)).filter(({ done }) => done === true);
    expect(ended).toHaveLength(2);
  });

  it('gives the text that came before it failed, then the failure, and so does its answer', async () => {
    const { iterator, send, fail, stream } = openStream();
    const first = iterator.next();
    await turn();
    send('a');
    fail(new Error('cut'));
    expect(await first).toEqual({ done: false, value: 'a' });
    await expect(iterator.next()).rejects.toThrow('cut');
    await expect(stream.answer).rejects.toThrow('cut');
  });

  it('that is left gives no more, keeps no more, and its answer fails', async () => {
    const { iterator, send, stream, seen } = openStream();
    const first = iterator.next();
    await turn();
    send('a');
    await first;
    const waiting = iterator.next();
    expect(await iterator.return?.()).toEqual({ done: true, value: undefined });
    send('b');
    expect(await waiting).toEqual({ done: true, value: undefined });
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
    await expect(stream.answer).rejects.toMatchObject({ code: 'llm_aborted' });
    expect(seen).toEqual({ opened: 1, read: 1, left: 1 });
  });

  it('that is left before its first use is never opened', async () => {
    const { iterator, stream, seen } = openStream();
    await iterator.return?.();
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
    await expect(stream.answer).rejects.toMatchObject({ code: 'llm_aborted' });
    expect(seen.opened).toBe(0);
  });

  it('that is left after its end is not left', async () => {
    const { iterator, end, stream, seen } = openStream();
    const { answer } = stream;
    await turn();
    end();
    await answer;
    await iterator.return?.();
    expect(await stream.answer).toMatchObject({ costUsd: '0.1' });
    expect(seen.left).toBe(0);
  });
});
