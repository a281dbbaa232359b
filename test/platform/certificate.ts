/** A self-signed certificate for 127.0.0.1 and no other name, as platforms use them; generated per run. */
import { spawnSync } from 'node:child_process';
import { chmod, chown, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chooseRunUser } from '../../src/db/embedded/user.ts';

export interface Certificate {
  /** Paths of PEM files. The user of the embedded Postgres can read the key. */
  readonly certificate: string;
  readonly key: string;
  remove(): Promise<void>;
}

export async function makeCertificate(): Promise<Certificate> {
  const folder = await mkdtemp(join(tmpdir(), 'purser-tls-'));
  await chmod(folder, 0o755);
  const certificate = join(folder, 'server.crt');
  const key = join(folder, 'server.key');
  const subject = '-subj /CN=database -addext subjectAltName=IP:127.0.0.1';
  const made = spawnSync(
    'openssl',
    `req -x509 -newkey rsa:2048 -nodes -days 2 ${subject} -keyout server.key -out server.crt`.split(
      ' ',
    ),
    { encoding: 'utf8', cwd: folder },
  );
  if (made.status !== 0) {
    throw new Error(`openssl made no certificate: ${made.error?.message ?? made.stderr}`);
  }
  await chmod(key, 0o600);
  const user = await chooseRunUser(folder);
  if (user !== null) await chown(key, user.uid, user.gid);
  return { certificate, key, remove: () => rm(folder, { recursive: true, force: true }) };
}
