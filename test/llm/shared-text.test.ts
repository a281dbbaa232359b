/** Passages that an error message shares with a request. */
import { expect, it } from 'vitest';
import { sharesPassage } from '../../src/llm/shared-text.ts';

const request = `{"messages":[{"content":"the secret plan of the merger, \u20AC 5 and \u{1F600}"}]}`;

it('finds every passage of the request, wherever it stands in either text', () => {
  for (let at = 0; at + 16 <= request.length; at += 1) {
    const passage = request.slice(at, at + 16);
    expect(sharesPassage(passage, request, 16)).toBe(true);
    expect(sharesPassage(`wrong: ${passage}.`, request, 16)).toBe(true);
  }
});

it('finds none where a shorter one is shared, or where a text is shorter than a passage', () => {
  expect(sharesPassage('the secret plan', request, 16)).toBe(false);
  expect(sharesPassage('the secret plan? None', request, 16)).toBe(false);
  // Long enough for passages of equal hash.
  const numbers = Array.from({ length: 100_000 }, (_, index) => index).join(' ');
  expect(sharesPassage('a passage of words alone '.repeat(30), numbers, 16)).toBe(false);
  expect(sharesPassage('', request, 16)).toBe(false);
  expect(sharesPassage(request, 'the secret', 16)).toBe(false);
});

// One search per passage takes 6 s of this text, in the thread of the supervisor, and several requests lose their leases.
it('searches a request of megabytes in one pass', () => {
  const long = 'a'.repeat(64 * 1024 * 1024);
  const message = `${'a'.repeat(15)}b`.repeat(50);
  expect(sharesPassage(message, long, 16)).toBe(false);
}, 20_000);
