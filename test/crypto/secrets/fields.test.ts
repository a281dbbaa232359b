import { expect, test } from 'vitest';
import { EncryptionKeyManager } from '../../../src/crypto/keyring.ts';
import { generateSalt } from '../../../src/crypto/salt.ts';
import { openFields, sealFields } from '../../../src/crypto/secrets/fields.ts';
import { secretWatch } from '../../../src/crypto/secrets/watch.ts';

const primary = { version: 1, key: 'a passphrase for tests', salt: generateSalt() };
const keyring = new EncryptionKeyManager({ primary: { ...primary, iterations: 100_000 } });
const place = { tenantId: 'acme', jobType: 'test_fields' };
const context = {
  tenantId: 'acme',
  column: 'job_payload.test_fields',
  purpose: 'generic',
} as const;

test('a value that several paths select is encrypted once, so that key rotation finds its token', async () => {
  const paths = ['$."l"[0]', '$."l"[*]', '$."r"."a"', '$."r".*'];
  const payload = { r: { a: 'x', b: 'y' }, l: ['one', 'two'], plain: 1 };
  const sealed = await sealFields(payload, paths, { ...place, keyring, keyVersion: 1 });
  const token = { $secret: expect.stringMatching(/^v2\.1\./) };
  expect(sealed).toEqual({ r: { a: token, b: token }, l: [token, token], plain: 1 });
  const tokens = [...JSON.stringify(sealed).matchAll(/"(v2\.[^"]+)"/g)];
  const inside = await Promise.all(
    tokens.map(([, found = '']) => keyring.decryptString(found, context)),
  );
  expect(inside).toEqual(['"x"', '"y"', '"one"', '"two"']);
  expect(await openFields(sealed, paths, place, () => keyring)).toEqual(payload);
});

test('a value that was stored before its field was marked is reported to the secret watch', async () => {
  const told: string[] = [];
  const watch = { opened: (value: string) => void told.push(value), failed: () => {} };
  const payload = { a: 'in the clear', l: [{ b: 'too' }] };
  const opened = await secretWatch.run(watch, () =>
    openFields(payload, ['$."a"', '$."l"[*]."b"'], place, () => keyring),
  );
  expect(opened).toEqual(payload);
  expect(told).toEqual(['"in the clear"', '"too"']);
});
