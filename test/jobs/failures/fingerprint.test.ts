import { describe, expect, it } from 'vitest';
import { causeOf, frameOf, shapeOf } from '../../../src/jobs/failures/fingerprint.ts';

const stackOf = (message: string, ...frames: string[]): string =>
  [`Error: ${message}`, ...frames.map((frame) => `    at ${frame}`)].join('\n');

describe('failures have the same cause where they differ in', () => {
  it.each([
    ['a number', 'row 17 has no price', 'row 4,812 has no price'],
    [
      'an id',
      'no order 8f14e45f-ceea-467f-a0e6-2b1f0c9d3a11',
      'no order 00000000-0000-4000-8000-000000000001',
    ],
    ['a quoted part', 'unknown field "colour"', 'unknown field "size of it"'],
    ['a single-quoted part', "can't read 'a b'", "can't read 'c'"],
    [
      'a part in typographic quotes',
      'no tenant \u201cacme\u201d',
      'no tenant \u201cother co\u201d',
    ],
    ['an address', 'connect ECONNREFUSED 10.0.0.1:5432', 'connect ECONNREFUSED 192.168.1.77:5433'],
    ['a time', 'no rate at 2026-12-01T08:00:00.000Z', 'no rate at 2027-01-31T23:59:59.999Z'],
    ['a mail address', 'cannot write to ada@example.com', 'cannot write to bob.smith@example.org'],
    ['how many ids are listed', 'rows 1, 2, 3 failed', 'rows 7 failed'],
    ['case and blanks', 'Not  found\n', 'not found'],
  ])('%s', (_what, one, other) => {
    expect(shapeOf(one)).toBe(shapeOf(other));
    expect(causeOf({ code: 'error', message: one })).toBe(
      causeOf({ code: 'error', message: other }),
    );
  });

  it('line, column and folder of the top frame', () => {
    const one = stackOf('x', 'charge (file:///app/v1/handlers/pay.mjs:12:5)');
    const other = stackOf('x', 'charge (/srv/app-2/handlers/pay.mjs:99:1)');
    expect(frameOf(one)).toBe('charge pay.mjs');
    expect(frameOf(other)).toBe(frameOf(one));
  });

  it("frames of Node and of packages above the handler's", () => {
    const deep = stackOf(
      'x',
      'node:internal/deps/undici/undici:13510:13',
      'process.processTicksAndRejections (node:internal/process/task_queues:105:5)',
      'async Promise.all (index 3)',
      'request (/app/node_modules/axios/lib/core.js:1:1)',
      'async run (/app/handlers/report.mjs:4:2)',
    );
    expect(frameOf(deep)).toBe('run report.mjs');
  });
});

describe('failures have different causes where they differ in', () => {
  const failure = {
    code: 'http_403',
    message: 'the invoice is refused',
    stack: stackOf('the invoice is refused', 'send (/app/invoice.mjs:1:1)'),
  };
  it.each([
    ['the code', { code: 'http_404' }],
    ['a word of the message', { message: 'the receipt is refused' }],
    ['the function of the top frame', { stack: stackOf('x', 'fetchAll (/app/invoice.mjs:1:1)') }],
    ['the file of the top frame', { stack: stackOf('x', 'send (/app/receipt.mjs:1:1)') }],
  ])('%s', (_what, change) => {
    expect(causeOf({ ...failure, ...change })).not.toBe(causeOf(failure));
  });
});

it('the version stands in front', () => {
  expect(causeOf({ code: 'error', message: '' })).toMatch(/^1-[0-9a-f]{16}$/);
});

it.each([
  ['no stack', undefined],
  ['a stack that is no text', { length: 3 }],
  ['a stack without frames', 'Error: x'],
])('%s has no frame, and is no error', (_what, stack) => {
  expect(frameOf(stack)).toBe('');
});

it('a message of a megabyte of quotes, digits or blanks takes no time to speak of', () => {
  for (const piece of ['"', "'", '\u201e', '`', '# ', '1,', 'a1.', ' ']) {
    const message = piece.repeat(1_000_000);
    expect(causeOf({ code: 'error', message, stack: message })).toMatch(/^1-/);
  }
});
