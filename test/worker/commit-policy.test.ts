/**
 * What a crash of Postgres may lose, on a server of its own that writes to disk only what a commit waits for: a job
 * that was accepted and an end stay; a dispatch and a begin may be lost, and their jobs run again.
 */
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { prepareDatabase } from '../../src/cli/runtime/prepare-database.ts';
import { connect } from '../../src/db/connect.ts';
import type { Sql } from '../../src/db/connect.ts';
import { startEmbeddedPostgres } from '../../src/db/embedded/embedded.ts';
import type { EmbeddedPostgres } from '../../src/db/embedded/embedded.ts';
import { beginAttempts, newToken } from '../../src/jobs/attempts.ts';
import { addTenant } from '../support/tenants.ts';
import { addJob, addJobType, begin, claimJob, eventually, finish } from '../jobs/job-steps.ts';

/** Nothing but a commit that waits writes the log to disk meanwhile. */
const settings = {
  wal_writer_delay: '10s',
  wal_writer_flush_after: '1GB',
  autovacuum: 'off',
  checkpoint_timeout: '1h',
  bgwriter_delay: '10s',
};

let dataDir: string;
let server: EmbeddedPostgres;
let sql: Sql;
let tenantId: string;

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'purser-commits-'));
  await chmod(dataDir, 0o711);
  server = await startEmbeddedPostgres({ dataDir, settings });
  await prepareDatabase({ url: server.url });
  sql = connect(server.url, { max: 2, applicationName: 'purser test' });
  await addJobType(sql);
}, 120_000);
afterAll(async () => {
  await sql.end({ timeout: 5 });
  await server.stop();
  await rm(dataDir, { recursive: true, force: true });
});

beforeEach(async () => {
  tenantId = await addTenant(sql);
});

/** Ends Postgres without a word to it; its guardian starts it again, five times in all. */
async function crash(): Promise<void> {
  const startedAt = async (): Promise<string | undefined> => {
    const [row] = await sql<{ at: string }[]>`select pg_postmaster_start_time()::text as at`;
    return row?.at;
  };
  const before = await startedAt();
  const pid = await readFile(join(server.dataDir, 'postmaster.pid'), 'utf8');
  process.kill(Number(pid.split('\n')[0]), 'SIGKILL');
  await eventually('Postgres is back', async () => {
    const at = await startedAt().catch(() => undefined);
    return at === before ? undefined : at;
  });
}

const stateOf = async (jobId: string): Promise<string | undefined> => {
  const [row] = await sql<{ state: string }[]>`
    select state from background_jobs where id = ${jobId}`;
  return row?.state;
};

/** A commit that waits for the disk takes all earlier ones with it. */
const makeDurable = (): Promise<string> => addJob(sql, tenantId, { payload: { durable: true } });

describe('a crash of Postgres', () => {
  it('loses no end', async () => {
    const attempt = await begin(sql, await claimJob(sql, await addJob(sql, tenantId)));
    expect(await finish(sql, attempt)).toBe('applied');
    await crash();
    expect(await stateOf(attempt.jobId)).toBe('completed');
  });

  it('loses no job that was accepted; it may lose its dispatch, whose entry begins nothing then', async () => {
    const jobId = await addJob(sql, tenantId);
    const { entryId } = await claimJob(sql, jobId);
    await crash();
    // The job itself was accepted.
    expect(await stateOf(jobId)).toBe('pending');
    const stale = () =>
      beginAttempts(sql, [{ jobId, entryId, token: newToken(jobId) }], 'worker-1', 30_000);
    expect(await stale()).toEqual([]);
    const next = await claimJob(sql, jobId);
    expect(next.entryId).not.toBe(entryId);
    expect(await stale()).toEqual([]);
    await begin(sql, next);
  });

  it('may lose a begin: its attempt ends as stale, and the job begins again', async () => {
    const jobId = await addJob(sql, tenantId);
    const queued = await claimJob(sql, jobId);
    await makeDurable();
    const lost = await begin(sql, queued);
    await crash();
    expect(await stateOf(jobId)).toBe('queued');
    expect(await finish(sql, lost)).toBe('stale');
    const again = await begin(sql, queued);
    expect(again.attempt).toBe(lost.attempt);
    expect(await finish(sql, lost)).toBe('stale');
    expect(await finish(sql, again)).toBe('applied');
  });

  it('loses no begin after which anything was committed that waits for the disk', async () => {
    const jobId = await addJob(sql, tenantId);
    await begin(sql, await claimJob(sql, jobId));
    await makeDurable();
    await crash();
    expect(await stateOf(jobId)).toBe('running');
  });

  it('loses no begin of a type that asks for it', async () => {
    const jobId = await addJob(sql, tenantId);
    const { entryId } = await claimJob(sql, jobId);
    const request = { jobId, entryId, token: newToken(jobId), isDurable: true };
    await beginAttempts(sql, [request], 'worker-1', 30_000);
    await crash();
    expect(await stateOf(jobId)).toBe('running');
  });
});
