/** The events of a body are the same, however it is cut into chunks, and their size is bounded. */
import { describe, expect, it } from 'vitest';
import { BodyTooLarge } from '../../../src/llm/provider-body.ts';
import { ServerEvents } from '../../../src/llm/streams/server-events.ts';

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

function read(...chunks: readonly Uint8Array[]): string[] {
  const events = new ServerEvents();
  return [...chunks.flatMap((chunk) => events.push(chunk)), ...events.end()];
}

describe('events', () => {
  it.each<[string, string, string[]]>([
    ['line feeds', 'data: a\n\ndata: b\n\n', ['a', 'b']],
    ['carriage returns', 'data: a\r\rdata: b\r\r', ['a', 'b']],
    ['both', 'data: a\r\n\r\ndata: b\r\n\r\n', ['a', 'b']],
    ['no blank, and more than one', 'data:a\n\ndata:  b\n\n', ['a', ' b']],
    ['several lines of data', 'data: a\ndata: b\ndata\n\n', ['a\nb\n']],
    ['several lines of data with both', 'data: a\r\ndata: b\r\n\r\n', ['a\nb']],
    ['other fields and comments', ': ping\nevent: x\nid: 1\nretry: 5\ndata: a\n\n: end\n\n', ['a']],
    ['fields that only begin like data', 'database: x\n\ndata : y\n\ndata: z\n\n', ['z']],
    ['a byte order mark', '\uFEFFdata: a\n\n', ['a']],
    ['no line end at the end', 'data: a\n\ndata: [DONE]', ['a', '[DONE]']],
    ['one line end at the end', 'data: a\r', ['a']],
    ['no data', '\n\n\nevent: x\n\n', []],
    ['characters of several bytes', 'data: é云👩‍🚀\u2028\u0085x\n\n', ['é云👩‍🚀\u2028\u0085x']],
    ['nothing', '', []],
  ])('with %s, in two chunks cut anywhere', (_name, text, expected) => {
    const bytes = bytesOf(text);
    for (let at = 0; at <= bytes.length; at += 1) {
      expect(read(bytes.subarray(0, at), bytes.subarray(at))).toEqual(expected);
    }
    expect(read(...Array.from(bytes, (byte) => Uint8Array.of(byte)))).toEqual(expected);
  });

  it('come as soon as they end', () => {
    const events = new ServerEvents();
    expect(events.push(bytesOf('data: a\n'))).toEqual([]);
    expect(events.push(bytesOf('\ndata: b'))).toEqual(['a']);
    expect(events.push(bytesOf('\n\n'))).toEqual(['b']);
  });

  it('of bytes that are no UTF-8 are read with replacements', () => {
    expect(read(Uint8Array.of(...bytesOf('data: a'), 0xff, ...bytesOf('b\n\n')))).toEqual([
      'a\uFFFDb',
    ]);
  });
});

describe('an event that does not end', () => {
  const chunk = bytesOf('x'.repeat(64 * 1024));
  const most = 1024 * 1024;

  it.each<[string, Uint8Array]>([
    ['one line', chunk],
    ['many lines', bytesOf('data: x\n'.repeat(8 * 1024))],
  ])('in %s is refused', (_name, more) => {
    const events = new ServerEvents();
    events.push(bytesOf('data: '));
    const pushAll = () => {
      for (let pushed = 0; pushed <= 8 * most; pushed += more.length) events.push(more);
    };
    expect(pushAll).toThrow(BodyTooLarge);
  });

  it('of a megabyte is read in a time that grows with its length', () => {
    const events = new ServerEvents();
    events.push(bytesOf('data: '));
    const byte = bytesOf('x');
    for (let pushed = 0; pushed < 500_000; pushed += 1) events.push(byte);
    expect(events.push(bytesOf('\n\n'))[0]).toHaveLength(500_000);
  });
});
