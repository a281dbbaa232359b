/** A data folder is made, or refused by name. */
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeDataFolder } from '../src/folder.ts';

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'purser-folder-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

test('makes the folder and its parents, and is content with one that is there', async () => {
  const path = join(root, 'a', 'b', 'c');
  await makeDataFolder(path, 0o711);
  await makeDataFolder(path, 0o711);
  expect((await stat(path)).isDirectory()).toBe(true);
});

test.skipIf(process.platform !== 'linux')(
  'a place that takes no folders is refused, at once',
  async () => {
    await expect(makeDataFolder('/proc/nope/deeper', 0o711)).rejects.toMatchObject({
      code: 'data_folder_unusable',
      exitCode: 78,
      message: expect.stringContaining('/proc/nope/deeper'),
    });
  },
);

test('a file in the way is named with the setting', async () => {
  await writeFile(join(root, 'file'), '');
  await expect(makeDataFolder(join(root, 'file', 'x'), 0o711)).rejects.toMatchObject({
    code: 'data_folder_unusable',
    message: expect.stringContaining('PURSER_DATA_DIR'),
  });
});
