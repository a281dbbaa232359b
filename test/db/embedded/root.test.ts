/** Running as root: Postgres refuses root, and its user cannot traverse a 0700 folder. */
import { chmod, cp, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connect } from '../../../src/db/connect.ts';
import { startEmbeddedPostgres } from '../../../src/db/embedded/embedded.ts';
import { findBinaries, locatePackage } from '../../../src/db/embedded/binaries.ts';
import { canRun, chooseRunUser } from '../../../src/db/embedded/user.ts';

const isRoot = process.getuid?.() === 0;

describe.skipIf(!isRoot)('as root (skipped when the run is not root)', () => {
  let closed: string;
  let open: string;

  beforeEach(async () => {
    // mkdtemp creates it with mode 0700.
    closed = await mkdtemp(join(tmpdir(), 'purser-closed-'));
    open = await mkdtemp(join(tmpdir(), 'purser-open-'));
    await chmod(open, 0o711);
  });

  afterEach(async () => {
    await rm(closed, { recursive: true, force: true });
    await rm(open, { recursive: true, force: true });
  });

  const start = () =>
    startEmbeddedPostgres({ dataDir: join(closed, 'data'), relocationRoots: [join(open, 'p')] });

  it('below a 0700 folder keeps its data elsewhere, reports where, and finds it again', async () => {
    const first = await start();
    expect(first.dataDir.startsWith(join(open, 'p'))).toBe(true);
    expect(first.description).toContain(first.dataDir);
    await run(first.url, 'create table note as select 1 as kept');
    await first.stop();
    const second = await start();
    expect(second.dataDir).toBe(first.dataDir);
    expect(await run(second.url, 'select kept from note')).toEqual([{ kept: 1 }]);
    await second.stop();
  });

  it('refuses to start empty where relocated data has been lost', async () => {
    const first = await start();
    await first.stop();
    await rm(join(open, 'p'), { recursive: true });
    await expect(start()).rejects.toMatchObject({ code: 'data_folder_lost' });
  });

  it('runs a copy of binaries that the user cannot reach, and creates links that npm left out', async () => {
    const installed = locatePackage();
    const nativeDir = join(closed, 'native');
    // npm packs no symbolic links; without an install script they are missing.
    const links: { target: string }[] = JSON.parse(
      await readFile(join(installed.nativeDir, 'pg-symlinks.json'), 'utf8'),
    );
    const left = new Set(links.map((link) => join(installed.nativeDir, '..', link.target)));
    await cp(installed.nativeDir, nativeDir, {
      recursive: true,
      verbatimSymlinks: true,
      filter: (source) => !left.has(source),
    });
    const user = await chooseRunUser(join(closed, 'no cluster yet'));
    expect(await canRun(user, nativeDir)).toBe(false);
    const found = await findBinaries(user, [join(open, 'p')], { nativeDir, version: '18' });
    expect(found.copiedTo).toBe(join(open, 'p', 'postgres-18'));
    expect(await canRun(user, join(open, 'p', 'postgres-18'))).toBe(true);
  });

  it('does not use a folder in a shared place that another user created or may write', async () => {
    const installed = locatePackage();
    await chmod(open, 0o777);
    const user = await chooseRunUser(join(closed, 'no cluster yet'));
    const nativeDir = join(closed, 'native');
    await cp(installed.nativeDir, nativeDir, { recursive: true, verbatimSymlinks: true });
    await expect(findBinaries(user, [open], { nativeDir, version: '18' })).rejects.toMatchObject({
      code: 'embedded_postgres_unusable',
    });
  });
});

async function run(url: string, statement: string) {
  const sql = connect(url, { max: 1, applicationName: 'embedded test' });
  try {
    return [...(await sql.unsafe(statement))];
  } finally {
    await sql.end({ timeout: 5 });
  }
}
