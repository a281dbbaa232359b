import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import type { EncryptionContext } from '../../src/crypto/context.ts';
import { EncryptionKeyManager } from '../../src/crypto/keyring.ts';
import { generateSalt } from '../../src/crypto/salt.ts';

const probe = spawnSync('python3', ['-c', 'import cryptography.fernet']);
const reason =
  probe.status === 0 ? '' : ' (skipped: python3 with its cryptography package is absent)';

const context: EncryptionContext = {
  tenantId: 'tenant-ž',
  column: 'api_integrations.credentials',
  purpose: 'pii',
};
const primary = { version: 1, key: 'a passphrase for tests only ž', salt: generateSalt() };
const value = 'shared by two languages: 漢字 \0 🧾';

function python(program: string, input: Record<string, unknown>): string {
  const prelude = `
import base64, hashlib, json, sys
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
given = json.load(sys.stdin)
def pbkdf2(text, iterations):
    salt = base64.b64decode(given["salt"])
    return PBKDF2HMAC(SHA256(), 32, salt, iterations).derive(text.encode())
def fernet(key):
    return Fernet(base64.urlsafe_b64encode(key))
`;
  const run = spawnSync('python3', ['-c', prelude + program], { input: JSON.stringify(input) });
  expect(run.stderr.toString()).toBe('');
  return run.stdout.toString();
}

/** The derivation that `getEncryptionFernet` documents, in Python. */
const boundKey = `
place = b"".join(
    len(part).to_bytes(4, "big") + part
    for part in (text.encode() for text in ["purser/fernet", given["purpose"], given["tenantId"], given["column"]])
)
key = HKDF(SHA256(), 32, None, hashlib.sha256(place).digest()).derive(pbkdf2(given["key"], 600000))
`;

describe.skipIf(reason !== '')(`exchange with Python's cryptography${reason}`, () => {
  const manager = new EncryptionKeyManager({
    primary,
    legacy: [{ version: 3, key: 'python master', profile: 'python' }],
  });

  test('a Fernet token of Purser is decrypted by Python', async () => {
    const token = (await manager.getEncryptionFernet(context)).encrypt(Buffer.from(value));
    const opened = python(
      `${boundKey}sys.stdout.write(json.dumps(fernet(key).decrypt(given["token"]).decode()))`,
      {
        ...primary,
        ...context,
        token,
      },
    );
    expect(JSON.parse(opened)).toBe(value);
  });

  test('a Fernet token of Python is decrypted by Purser', async () => {
    const token = python(
      `${boundKey}sys.stdout.write(fernet(key).encrypt(given["value"].encode()).decode())`,
      {
        ...primary,
        ...context,
        value,
      },
    );
    expect(await manager.decryptString(token, context)).toBe(value);
  });

  test('a token of the earlier Python service, 100,000 iterations of master:v3, is decrypted by Purser', async () => {
    const program = `sys.stdout.write(fernet(pbkdf2("python master:v3", 100000)).encrypt(given["value"].encode()).decode())`;
    const token = python(program, { salt: primary.salt, value });
    expect(await manager.decryptString(token, context)).toBe(value);
  });
});
