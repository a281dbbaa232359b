/**
 * One random salt per environment. In staging and production it must be configured. In development it is generated
 * once and stored in the data folder; processes that start at the same time use the same one.
 */
import { randomBytes } from 'node:crypto';
import { link, mkdir, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf, exitCodes, messageOf, PurserError } from '../errors.ts';
import { decodeBase64 } from './base64.ts';

/** Length of a salt in bytes; 44 characters in base64. */
export const KDF_SALT_LENGTH = 32;
/** Name of the development salt inside the data folder. */
export const SALT_FILE_NAME = 'kdf-salt';

const advice =
  'generate one with `purser keys generate-salt` and set the same value for every process';

export interface SaltOptions {
  readonly environment: 'development' | 'staging' | 'production';
  /** Value of `KDF_SALT`; empty counts as not set. */
  readonly kdfSalt?: string | undefined;
  /** Value of `PURSER_DATA_DIR`; only development writes there. */
  readonly dataDir: string;
}

/** A new salt: 32 random bytes as 44 base64 characters. */
export function generateSalt(): string {
  return randomBytes(KDF_SALT_LENGTH).toString('base64');
}

/**
 * Bytes of a salt in text form; `name` names its source in the error.
 * @throws PurserError `kdf_salt_invalid` (exit 78)
 */
export function decodeSalt(text: string, name = 'KDF_SALT'): Buffer {
  const bytes = decodeBase64(text);
  if (bytes !== undefined && bytes.length === KDF_SALT_LENGTH) return bytes;
  throw new PurserError(
    'kdf_salt_invalid',
    `${name} must be ${KDF_SALT_LENGTH} bytes in base64 (44 characters): ${advice}`,
    { exitCode: exitCodes.configuration },
  );
}

/**
 * The environment's salt: `kdfSalt` if given, otherwise, in development only, the one in the data folder, which is
 * generated (mode 0600) if it does not exist.
 * @throws PurserError `kdf_salt_missing`, `kdf_salt_invalid` or `kdf_salt_unusable` (all exit 78)
 */
export async function getOrCreateSalt(options: SaltOptions): Promise<string> {
  if (options.kdfSalt !== undefined && options.kdfSalt !== '') {
    decodeSalt(options.kdfSalt);
    return options.kdfSalt;
  }
  if (options.environment !== 'development') {
    throw new PurserError(
      'kdf_salt_missing',
      `KDF_SALT is not set, and in ${options.environment} none is generated: ${advice}`,
      { exitCode: exitCodes.configuration },
    );
  }
  const path = join(options.dataDir, SALT_FILE_NAME);
  try {
    const existing = await readIfThere(path);
    if (existing !== undefined) return checked(existing, path);
    await mkdir(options.dataDir, { recursive: true });
    await publishOnce(options.dataDir, path, generateSalt());
    return checked(await readFile(path, 'utf8'), path);
  } catch (cause) {
    if (cause instanceof PurserError) throw cause;
    throw new PurserError(
      'kdf_salt_unusable',
      `the salt file ${path} cannot be used (${messageOf(cause)}): fix its folder, or set KDF_SALT`,
      { cause, exitCode: exitCodes.configuration },
    );
  }
}

/** A damaged file is never replaced: values encrypted under the old salt would be lost. */
function checked(content: string, path: string): string {
  const salt = content.trimEnd();
  decodeSalt(salt, `the salt file ${path}`);
  return salt;
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * Writes a private file and links it into place. link fails if the name exists, so exactly one of several processes
 * succeeds, and no reader sees a partial salt.
 */
async function publishOnce(folder: string, path: string, salt: string): Promise<void> {
  const draft = join(folder, `${SALT_FILE_NAME}.${randomBytes(8).toString('hex')}`);
  try {
    const file = await open(draft, 'wx', 0o600);
    try {
      await file.writeFile(`${salt}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await link(draft, path);
    await syncFolder(folder);
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error;
  } finally {
    await rm(draft, { force: true });
  }
}

/** Makes the directory entry durable, as the data encrypted under the salt is. Not possible on Windows. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
