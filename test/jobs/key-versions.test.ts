import { afterAll, beforeAll, expect, it } from 'vitest';
import { EncryptionKeyManager } from '../../src/crypto/keyring.ts';
import { generateSalt } from '../../src/crypto/salt.ts';
import { writeHeartbeat } from '../../src/db/heartbeats.ts';
import { keyVersionToWrite } from '../../src/jobs/key-versions.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';

const salt = generateSalt();
const one = { version: 1, key: 'the first key of all' };
const two = { version: 2, key: 'the second key of all', salt };
const twoElsewhere = { ...two, key: 'another key, same number' };
const old = new EncryptionKeyManager({ primary: { ...one, salt } });
const both = new EncryptionKeyManager({ primary: two, legacy: [one] });

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.close());

const beat = async (processId: string, keyring?: EncryptionKeyManager): Promise<unknown> =>
  writeHeartbeat(database.sql, {
    processId,
    role: 'worker',
    version: 'test',
    hostname: 'test',
    pid: 1,
    jobTypes: [],
    typeSlots: [],
    slots: 0,
    running: 0,
    progressedAt: new Date(),
    metrics: [],
    ...(keyring === undefined
      ? {}
      : { knownKeys: await keyring.marks(), primaryVersion: keyring.primaryVersion }),
  });
const writes = (): Promise<number> => keyVersionToWrite(database.sql, both);

it('a new key writes only when every process seen in the last 60 s has that same key', async () => {
  expect(await writes()).toBe(2);
  await beat('new', both);
  await beat('without keys');
  expect(await writes()).toBe(2);
  await beat('other', old);
  expect(await writes()).toBe(1);
  await beat('other', new EncryptionKeyManager({ primary: twoElsewhere, legacy: [one] }));
  expect(await writes()).toBe(1);
  await beat('other', both);
  expect(await writes()).toBe(2);
});

it('who shares no key with the fleet writes nothing, until the others are gone', async () => {
  await beat('other', new EncryptionKeyManager({ primary: twoElsewhere }));
  await expect(writes()).rejects.toMatchObject({ code: 'encryption_keys_differ' });
  await database.sql`
    update heartbeats set beat_at = now() - interval '2 minutes' where process_id = 'other'`;
  expect(await writes()).toBe(2);
});

it('a key of the earlier service reads and never writes, however new its number is', async () => {
  const python = {
    version: 101,
    key: 'of the earlier service',
    profile: 'python',
    kdfVersion: 1,
  } as const;
  const before = new EncryptionKeyManager({ primary: { ...one, salt }, legacy: [python] });
  const after = new EncryptionKeyManager({ primary: two, legacy: [one, python] });
  await beat('new', after);
  await beat('other', before);
  expect(await keyVersionToWrite(database.sql, after)).toBe(1);
  const stranger = new EncryptionKeyManager({ primary: twoElsewhere, legacy: [python] });
  await expect(keyVersionToWrite(database.sql, stranger)).rejects.toMatchObject({
    code: 'encryption_keys_differ',
  });
});
