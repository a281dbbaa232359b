/** A data folder is created, or refused with its name. */
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeDataFolder } from '../../../src/db/embedded/make-folder.ts';

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'purser-folder-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

test('creates the folder and its parents, and accepts an existing one', async () => {
  const path = join(root, 'a', 'b', 'c');
  await makeDataFolder(path, 0o711);
  await makeDataFolder(path, 0o711);
  expect((await stat(path)).isDirectory()).toBe(true);
});

test.skipIf(process.platform !== 'linux')(
  'a parent that cannot contain folders is refused without waiting',
  async () => {
    await expect(makeDataFolder('/proc/nope/deeper', 0o711)).rejects.toMatchObject({
      code: 'data_folder_unusable',
      exitCode: 78,
      message: expect.stringContaining('/proc/nope/deeper'),
    });
  },
);

test('a file at the path is refused with the name of the setting', async () => {
  await writeFile(join(root, 'file'), '');
  await expect(makeDataFolder(join(root, 'file', 'x'), 0o711)).rejects.toMatchObject({
    code: 'data_folder_unusable',
    message: expect.stringContaining('PURSER_DATA_DIR'),
  });
});
