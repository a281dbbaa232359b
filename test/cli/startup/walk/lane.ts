/**
 * One lane of the walk: a database and a Redis of its own, each behind a proxy, and a role started against them. Faults
 * are made at the proxies, or in the stores where only they can make them.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { migrateQueueTables, openQueueBackend } from '../../../../src/queues/backend.ts';
import type { QueueBackend } from '../../../../src/queues/backend.ts';
import { createTransport } from '../../../../src/queues/transport.ts';
import { createMetrics } from '../../../../src/metrics.ts';
import { dispatchOnce } from '../../../../src/scheduler/dispatch-round.ts';
import { startProxy } from '../../../faults/proxy.ts';
import type { Proxy } from '../../../faults/proxy.ts';
import { freePort } from '../../../support/children.ts';
import { freshDatabase } from '../../../support/database.ts';
import { silentLog } from '../../../support/llm-attempt.ts';
import { startNode } from '../../../support/process.ts';
import type { CliProcess } from '../../../support/process.ts';
import { startRedis } from '../../../support/redis.ts';
import { addTenant } from '../../../support/tenants.ts';
import type { RoleName, StepName } from '../../../../src/cli/startup/steps.ts';

const hook = fileURLToPath(new URL('hold-steps.mjs', import.meta.url));
const entry = fileURLToPath(new URL('../../../../dist/cli/main.js', import.meta.url));

/** Where a store stands in the walk: its proxy, and how its queues are kept. */
export type Target = 'database' | 'tenant_login' | 'redis' | 'postgres_queues';
export type Fault = 'refused' | 'full' | 'slow' | 'half_open' | 'wrong_password' | 'read_only';

const fatal = (code: string, message: string): Buffer => {
  const fields = Buffer.from(`SFATAL\0VFATAL\0C${code}\0M${message}\0\0`);
  const packet = Buffer.concat([Buffer.from('E\0\0\0\0'), fields]);
  packet.writeInt32BE(fields.length + 4, 1);
  return packet;
};
const passwordRefused = fatal('28P01', 'password authentication failed for user "app"');
const serverFull = fatal('53300', 'sorry, too many clients already');

const slowMs = 60;

export type Lane = Awaited<ReturnType<typeof openLane>>;

export interface Started {
  readonly role: CliProcess;
  readonly port: number;
  /** Lets the process go on from the step at which it is held. */
  release(): Promise<void>;
}

const proxyOf = (url: string): Promise<Proxy> => startProxy({ port: Number(new URL(url).port) });

export async function openLane() {
  const test = await freshDatabase();
  const redis = await startRedis();
  await migrateQueueTables({ databaseUrl: test.url, applicationName: 'purser test' });
  await redis.command('ACL', 'SETUSER', 'walker', 'on', '>secret', '~*', '&*', '+@all');
  const proxies: Record<Target, Proxy> = {
    database: await proxyOf(test.url),
    tenant_login: await proxyOf(test.url),
    postgres_queues: await proxyOf(test.url),
    redis: await proxyOf(redis.url),
  };
  const redisUrl = `redis://walker:secret@127.0.0.1:${new URL(proxies.redis.through(redis.url)).port}`;
  const folder = await mkdtemp(join(tmpdir(), 'purser-startup-'));
  await writeFile(
    join(folder, 'handlers.mjs'),
    `export const handlers = [{ type: 'startup_walk', timeoutMs: 5000, maxAttempts: 3, run: async () => ({}) }];`,
  );
  const tenantId = await addTenant(test.sql);
  const backends: QueueBackend[] = [];
  const database = await test.open();
  const dispatcher = (inRedis: boolean) => {
    const backend = openQueueBackend({
      redisUrl: inRedis ? redis.url : undefined,
      databaseUrl: test.url,
      workers: 0,
      fleetId: database.fleetId,
      applicationName: 'purser test walk',
      log: silentLog,
    });
    backends.push(backend);
    const options = { backend, transport: createTransport(backend), log: silentLog };
    return () => dispatchOnce({ ...options, sql: test.sql, metrics: createMetrics() });
  };
  const dispatch = { redis: dispatcher(true), postgres: dispatcher(false) };
  let starts = 0;

  const readOnly = async (target: Target, on: boolean): Promise<void> => {
    if (target === 'redis') {
      await redis.command('REPLICAOF', ...(on ? ['127.0.0.1', '1'] : ['NO', 'ONE']));
      return;
    }
    // The sessions of this test are read-write, or say so.
    await test.sql.begin('read write', async (tx) => {
      const change = on
        ? tx`set default_transaction_read_only = on`
        : tx`reset default_transaction_read_only`;
      await tx`alter database ${tx(test.name)} ${change}`;
    });
    for (const each of Object.values(proxies)) each.cut();
  };

  return {
    test,
    tenantId,
    dispatch,
    /** Starts a role that is held where `step` begins. */
    start: async (
      role: RoleName,
      target: Target,
      options: { readonly hold?: StepName | '*'; readonly env?: Record<string, string> } = {},
    ): Promise<Started> => {
      starts += 1;
      const port = await freePort();
      const held = join(folder, `held-${starts}`);
      await mkdir(held);
      const inRedis = target !== 'postgres_queues';
      const process = startNode(['--import', hook, entry, 'start', role], `purser start ${role}`, {
        env: {
          DATABASE_URL: proxies.database.through(test.url),
          ...(target === 'tenant_login'
            ? { TENANT_DATABASE_URL: proxies.tenant_login.through(test.tenantUrl) }
            : {}),
          ...(inRedis
            ? { REDIS_URL: redisUrl }
            : { DATABASE_DIRECT_URL: proxies.postgres_queues.through(test.url) }),
          PURSER_HANDLERS: join(folder, 'handlers.mjs'),
          PURSER_BUILTINS: 'off',
          WORKER_THREADS: '1',
          PORT: String(port),
          HOLD_STEP: options.hold ?? '',
          HOLD_FOLDER: held,
          ...options.env,
        },
      });
      return {
        role: process,
        port,
        release: () => writeFile(join(held, options.hold ?? ''), ''),
      };
    },
    /** For the clean start: lets the process go on from `step`. */
    releaseStep: (step: string) => writeFile(join(folder, `held-${starts}`, step), ''),
    connections: (target: Target) => proxies[target].accepted(),
    begin: async (target: Target, fault: Fault): Promise<void> => {
      const proxy = proxies[target];
      if (fault === 'refused') proxy.refuse();
      else if (fault === 'full') proxy.refuse(serverFull);
      else if (fault === 'slow') proxy.delay(slowMs);
      else if (fault === 'half_open') proxy.halfOpen();
      else if (fault === 'read_only') await readOnly(target, true);
      else if (target === 'redis') {
        await redis.command('ACL', 'SETUSER', 'walker', 'resetpass', '>other');
        proxy.cut();
      } else proxy.refuse(passwordRefused);
    },
    end: async (target: Target, fault: Fault): Promise<void> => {
      if (fault === 'read_only') await readOnly(target, false);
      if (fault === 'wrong_password' && target === 'redis')
        await redis.command('ACL', 'SETUSER', 'walker', 'resetpass', '>secret');
      // A shorter delay would overtake bytes that are on their way.
      if (fault === 'slow') proxies[target].cut();
      proxies[target].delay(0);
      proxies[target].pass();
    },
    close: async (): Promise<void> => {
      for (const proxy of Object.values(proxies)) await proxy.stop();
      for (const backend of backends) await backend.close();
      await redis.stop();
      await test.close();
      await rm(folder, { recursive: true });
    },
  };
}

const ticksPerSecond = 100;

/** CPU time of the process and all its threads so far; Linux only. */
export function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}
