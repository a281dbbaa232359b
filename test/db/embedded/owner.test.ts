import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { takeOwnership } from '../../../src/db/embedded/owner.ts';

let dataDir: string;

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'purser-owner-'));
});

afterEach(() => rm(dataDir, { recursive: true, force: true }));

it('gives a folder whose owner crashed to exactly one of many concurrent claims', async () => {
  // A record with the pid of a running process, written by an earlier process with that pid.
  const earlier = { pid: process.pid, processStart: 'an earlier process', released: false };
  await writeFile(join(dataDir, 'owner.7.json'), JSON.stringify(earlier));
  const claims = await Promise.allSettled(Array.from({ length: 20 }, () => takeOwnership(dataDir)));
  const won = claims.filter((claim) => claim.status === 'fulfilled');
  expect(won).toHaveLength(1);
  await won[0]?.value.release();
  await (await takeOwnership(dataDir)).release();
});
