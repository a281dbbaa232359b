/**
 * Creates a folder with its parents. Node's recursive mkdir never returns where a parent cannot have children
 * (below /proc), and its errors do not name the setting that the folder comes from.
 */
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { codeOf, exitCodes, messageOf, PurserError } from '../../errors.ts';

/** Throws `data_folder_unusable` (exit 78) naming the folder. An existing folder is left unchanged. */
export async function makeDataFolder(path: string, mode: number): Promise<void> {
  try {
    await makeWithParents(path, mode);
  } catch (error) {
    throw new PurserError(
      'data_folder_unusable',
      `cannot create the data folder ${path} (${messageOf(error)}); set PURSER_DATA_DIR (or --data) to a folder that this user can write`,
      { exitCode: exitCodes.configuration, cause: error },
    );
  }
}

async function makeWithParents(path: string, mode: number): Promise<void> {
  const made = await makeOne(path, mode);
  if (made !== 'no parent') return;
  await makeWithParents(dirname(path), mode);
  if ((await makeOne(path, mode)) === 'no parent') {
    throw new Error(`${dirname(path)} cannot contain folders`);
  }
}

async function makeOne(path: string, mode: number): Promise<'there' | 'no parent'> {
  try {
    await mkdir(path, { mode });
    return 'there';
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return 'there';
    if (codeOf(error) === 'ENOENT' && dirname(path) !== path) return 'no parent';
    throw error;
  }
}
