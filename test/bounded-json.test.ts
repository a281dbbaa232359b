import { expect, it } from 'vitest';
import { boundedJson } from '../src/bounded-json.ts';

it('keeps a value that fits as its JSON', () => {
  const value = {
    text: 'a',
    list: [1, null, { no: false }],
    at: new Date(0),
    big: 10n,
    f: () => {},
  };
  expect(boundedJson(value, 1_000)).toEqual({
    text: 'a',
    list: [1, null, { no: false }],
    at: '1970-01-01T00:00:00.000Z',
    big: '10',
  });
});

it('stays within its length wherever it is cut', () => {
  const long = 'y'.repeat(1_000_000);
  for (let length = 0; length < 120; length += 1) {
    const pad = 'x'.repeat(length);
    for (const value of [
      { pad, long },
      [pad, long],
      [[pad], [long], long],
      { [pad]: long, long },
    ]) {
      expect(JSON.stringify(boundedJson(value, 100)).length).toBeLessThan(300);
    }
  }
});

it('ends in bounded time for a value of unbounded size', () => {
  const round: unknown[] = [];
  round.push(round, round, round);
  expect(JSON.stringify(boundedJson(round, 10_000)).length).toBeLessThan(20_000);
});
