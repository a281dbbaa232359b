import { expect, test } from 'vitest';
import { parseLegacyKeys } from '../../src/crypto/legacy-keys.ts';

const canary = 'canary-passphrase-canary';

test('an unset or blank variable means no legacy keys', () => {
  expect(parseLegacyKeys('')).toEqual([]);
  expect(parseLegacyKeys(' \n')).toEqual([]);
  expect(parseLegacyKeys('[]')).toEqual([]);
});

test('entries are parsed unchanged, with any character in a passphrase', () => {
  const entries = [
    { version: 1, key: 'old, with: commas "and" quotes' },
    { version: 2, key: canary, salt: 'c2FsdA==', iterations: 100_000 },
    { version: 3, key: canary, salt: 'c2FsdA==', profile: 'python', kdfVersion: 1 },
  ];
  expect(parseLegacyKeys(JSON.stringify(entries))).toEqual(entries);
});

test.each([
  [`[{"version":1,"key":"${canary}"`, /is not valid JSON/],
  [`1:${canary}`, /is not valid JSON/],
  [JSON.stringify({ version: 1, key: canary }), /is not a JSON array/],
  [JSON.stringify([canary]), /entry 1: is not an object/],
  [JSON.stringify([null]), /entry 1: is not an object/],
  [JSON.stringify([{ key: canary }]), /entry 1: version must be a whole number from 1/],
  [JSON.stringify([{ version: '1', key: canary }]), /entry 1: version must be/],
  [JSON.stringify([{ version: 0, key: canary }]), /entry 1: version must be/],
  [JSON.stringify([{ version: 1.5, key: canary }]), /entry 1: version must be/],
  [JSON.stringify([{ version: 2 ** 31, key: canary }]), /entry 1: version must be/],
  [JSON.stringify([{ version: 1 }]), /entry 1: key must be a non-empty string/],
  [JSON.stringify([{ version: 1, key: '' }]), /entry 1: key must be/],
  ['[{"version":1,"key":"\\ud800"}]', /entry 1: key must be/],
  [JSON.stringify([{ version: 1, key: canary, salt: 'c2FsdA' }]), /entry 1: salt must be base64/],
  [JSON.stringify([{ version: 1, key: canary, salt: '' }]), /entry 1: salt must be base64/],
  [JSON.stringify([{ version: 1, key: canary, iterations: 99_999 }]), /iterations must be a whole/],
  [JSON.stringify([{ version: 1, key: canary, iterations: 2 ** 31 }]), /00000 to 2147483647/],
  [JSON.stringify([{ version: 1, key: canary, profile: 'ruby' }]), /profile must be purser or/],
  [JSON.stringify([{ version: 1, key: canary, kdfVersion: 1 }]), /only with profile python/],
  [JSON.stringify([{ version: 1, key: canary, [canary]: 1 }]), /has a field other than version/],
  [JSON.stringify([1, 2].map(() => ({ version: 4, key: canary }))), /version 4 is given more than/],
])('a fault is named, and the value is not repeated (case %#)', (text, message) => {
  let thrown: unknown;
  try {
    parseLegacyKeys(text);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toMatchObject({
    code: 'legacy_keys_invalid',
    exitCode: 78,
    message: expect.stringMatching(message),
  });
  expect(thrown).not.toHaveProperty('cause');
  expect(JSON.stringify(thrown) + String(thrown)).not.toContain(canary);
});

test('all faults are reported at once', () => {
  const text = JSON.stringify([{ version: 0, key: '' }, { version: 1, key: 'k' }, 5]);
  expect(() => parseLegacyKeys(text)).toThrow(
    /entry 1: version must be.*; entry 1: key must be.*; entry 3: is not an object \(example: /,
  );
});
