import type { StandardSchemaV1 } from '@standard-schema/spec';
import { expect, it } from 'vitest';
import { defineHandler, parsePayload } from '../../src/handlers/define.ts';

/** A schema whose messages quote the received value, as those of some libraries do. */
const payload: StandardSchemaV1<{ pin: number }> = {
  '~standard': {
    version: 1,
    vendor: 'test',
    validate: (given) => {
      const found: unknown = Object(given);
      const pin: unknown = found !== null && typeof found === 'object' && Reflect.get(found, 'pin');
      if (typeof pin === 'number') return { value: { pin } };
      const message = `expected a number but received ${typeof pin === 'bigint' ? 'a bigint' : JSON.stringify(pin)}`;
      return { issues: [{ message, path: ['pin'] }] };
    },
  },
};
const handler = defineHandler({
  type: 'test_faults',
  timeoutMs: 1,
  maxAttempts: 1,
  payload,
  run: () => Promise.resolve(),
});

it.each([
  ['a text', 'a canary', '"[redacted]"'],
  ['a list', ['a canary'], '[redacted]'],
  ['no JSON', 1n, 'a bigint'],
])('the message of a refused payload does not contain its value: %s', async (_name, pin, said) => {
  await expect(parsePayload(handler, { pin })).rejects.toMatchObject({
    code: 'invalid_payload',
    message: `payload of test_faults: pin: expected a number but received ${said}`,
  });
  expect(await parsePayload(handler, { pin: 1 })).toEqual({ pin: 1 });
});

it.each([
  ['a promise', (result: object) => Promise.resolve(result)],
  // Its `then` returns nothing, as the specification of `await` allows.
  // oxlint-disable-next-line unicorn/no-thenable
  ['a thenable', (result: object) => ({ then: (take: (given: object) => void) => take(result) })],
])('a schema that answers with %s refuses, too', async (_name, answer) => {
  const refusing = defineHandler({
    type: 'test_faults',
    timeoutMs: 1,
    maxAttempts: 1,
    payload: {
      '~standard': {
        version: 1,
        vendor: 'test',
        // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a library in plain JavaScript
        validate: () => answer({ issues: [{ message: 'refused' }] }) as never,
      },
    },
    run: () => Promise.resolve(),
  });
  await expect(parsePayload(refusing, {})).rejects.toMatchObject({ code: 'invalid_payload' });
});
