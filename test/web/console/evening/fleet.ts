/** A whole fleet of the built CLI with two operators, and 4,000 jobs that it has run into the dead letters. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Sql } from '../../../../src/db/connect.ts';
import { enqueueMany } from '../../../../src/jobs/enqueue.ts';
import { addOperator } from '../../../../src/operations/operators/operators.ts';
import type { Role } from '../../../../src/operations/operators/roles.ts';
import { freePort } from '../../../support/children.ts';
import { freshDatabase } from '../../../support/database.ts';
import { runCli, startCli } from '../../../support/process.ts';
import { addTenant } from '../../../support/tenants.ts';
import { by, quickHash } from '../../access/access-fixture.ts';

export const letters = 4_000;
const tenants = 5;

export interface EveningFleet {
  readonly url: string;
  readonly sql: Sql;
  /** Of dead letters with the code `no_recipient`; the first is of the tenant. */
  readonly wrongJobs: readonly string[];
  readonly tenantId: string;
  /** From now on jobs of the failed kind end well. */
  mendArchive(): Promise<void>;
  close(): Promise<void>;
}

/** On Redis where a URL of one is given. */
export async function startEveningFleet(redisUrl?: string): Promise<EveningFleet> {
  const folder = await mkdtemp(join(tmpdir(), 'purser-evening-'));
  const test = await freshDatabase();
  const { system: sql } = await test.open();
  const port = await freePort();
  const env = {
    DATABASE_URL: test.url,
    REDIS_URL: redisUrl,
    PURSER_HANDLERS: resolve('test/web/console/evening/handlers.mjs'),
    PORT: String(port),
    LOG_LEVEL: 'fatal',
  };
  const migrated = await runCli(['migrate', 'up'], { env });
  if (migrated.code !== 0) throw new Error(migrated.stderr);
  for (const [name, role] of operators) {
    await sql.begin((tx) => addOperator(tx, by, { name, role, passwordHash: quickHash() }));
  }
  const fleet = startCli(['start', 'all'], { env, cwd: folder });
  await fleet.waitForLine(/^purser all is running/, { timeoutMs: 60_000 });
  const ids: string[] = [];
  for (let n = 0; n < tenants; n += 1) ids.push(await addTenant(sql));
  const [tenantId = ''] = ids;
  const requests = Array.from({ length: letters }, (_, n) => ({
    tenantId: ids[n % tenants] ?? '',
    jobType: 'send_report',
    payload: { days: 1 + (n % 30) },
  }));
  const wrong = Array.from({ length: 3 }, () => ({
    tenantId,
    jobType: 'send_report',
    payload: { days: 7, to: 'nobody' },
  }));
  await enqueueMany(sql, requests);
  const wrongJobs = (await enqueueMany(sql, wrong)).map(({ jobId }) => jobId);
  await until('the jobs are dead letters', async () => {
    const rows = await sql`select from purser.dead_letters`;
    return rows.length === letters + wrong.length;
  });
  return {
    url: `http://127.0.0.1:${port}`,
    sql,
    wrongJobs,
    tenantId,
    mendArchive: () => writeFile(join(folder, 'archive-is-up'), ''),
    close: async () => {
      fleet.signal('SIGTERM');
      await fleet.waitForExit({ timeoutMs: 40_000 });
      await test.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

const operators: readonly (readonly [string, Role])[] = [
  ['lee', 'operator'],
  ['kim', 'admin'],
];

export async function until(what: string, look: () => Promise<boolean>): Promise<void> {
  const endsAt = Date.now() + 180_000;
  while (!(await look())) {
    if (Date.now() > endsAt) throw new Error(`after three minutes it is not so that ${what}`);
    await sleep(100);
  }
}
