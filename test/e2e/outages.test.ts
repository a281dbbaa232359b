/**
 * Both stores of a running fleet become unreachable and return: no role ends, each logs the outage once and
 * recovers by itself.
 */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { connect as connectTo, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { prepareDatabase } from '../../src/cli/runtime/prepare-database.ts';
import { connect } from '../../src/db/connect.ts';
import type { Sql } from '../../src/db/connect.ts';
import { startEmbeddedPostgres } from '../../src/db/embedded/embedded.ts';
import type { EmbeddedPostgres } from '../../src/db/embedded/embedded.ts';
import { freePort } from '../support/children.ts';
import type { CliProcess } from '../support/process.ts';
import { describeOnRedis, startRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';
import { addTenant } from '../support/tenants.ts';
import { startRole, stopAll, untilAllEnded } from './fleet.ts';

const patience = { interval: 250, timeout: 60_000 };

/** A fixed address for a server that restarts on another port. */
async function startForwarder() {
  const sockets = new Set<Socket>();
  let target = 0;
  const server = createServer((client) => {
    const behind = connectTo(target, '127.0.0.1');
    for (const [one, other] of [
      [client, behind],
      [behind, client],
    ] as const) {
      sockets.add(one);
      one.on('error', () => {});
      one.on('close', () => {
        sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  const port = await freePort();
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    port,
    to: (url: string) => {
      target = Number(new URL(url).port);
    },
    stop: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

interface Line {
  readonly event: string;
  readonly loop?: string;
  readonly error?: { readonly code?: string };
}

const logged = (started: CliProcess): Line[] =>
  started.stderr.filter((line) => line.startsWith('{')).map((line): Line => JSON.parse(line));

describeOnRedis('a fleet that loses its stores', () => {
  let folder: string;
  let forwarder: Awaited<ReturnType<typeof startForwarder>>;
  let postgres: EmbeddedPostgres;
  let redis: TestRedis;
  let sql: Sql;
  let port: number;
  let fleet: readonly CliProcess[];
  let scheduler: CliProcess;

  const start = async () => {
    postgres = await startEmbeddedPostgres({ dataDir: folder });
    forwarder.to(postgres.url);
  };
  const page = async (path: string): Promise<[number, unknown]> => {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`);
    return [answer.status, await answer.json()];
  };
  /** The process serves, and names the store that is unreachable. */
  const degraded = (part: string) => [
    200,
    { ready: true, degraded: [{ part, reason: 'not_reachable' }] },
  ];
  const problems = async (): Promise<[number, string[]]> => {
    const answer = await fetch(`http://127.0.0.1:${port}/status`);
    const found: { problems: { part: string; reason: string }[] } = JSON.parse(await answer.text());
    return [answer.status, found.problems.map(({ part, reason }) => `${part}: ${reason}`)];
  };
  /** Adds a tenant, whose first analysis is due at once, and waits for it. */
  const work = async (): Promise<number> => {
    await addTenant(sql);
    const states = await untilAllEnded(sql);
    return states['completed'] ?? 0;
  };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'purser-outage-'));
    await chmod(folder, 0o711);
    forwarder = await startForwarder();
    redis = await startRedis();
    await start();
    await prepareDatabase({ url: postgres.url });
    const { username, password, pathname } = new URL(postgres.url);
    const url = `postgres://${username}:${password}@127.0.0.1:${forwarder.port}${pathname}`;
    sql = connect(url, { max: 2, applicationName: 'purser test outages' });
    port = await freePort();
    const env = { DATABASE_URL: url, REDIS_URL: redis.url, PORT: String(port) };
    scheduler = await startRole('scheduler', env);
    fleet = [scheduler, await startRole('worker', env), await startRole('web', env)];
  }, 120_000);
  afterAll(async () => {
    await Promise.all(fleet.map((role) => role.kill()));
    await sql.end({ timeout: 1 });
    forwarder.stop();
    await redis.stop();
    await postgres.stop();
    await rm(folder, { recursive: true, force: true });
  }, 60_000);

  it('waits while Postgres is stopped, and works again after its start', async () => {
    expect(await work()).toBe(1);
    expect(await page('/readyz')).toEqual([200, { ready: true }]);
    await expect.poll(problems, patience).toEqual([200, []]);
    await postgres.stop();
    await expect.poll(() => page('/readyz'), patience).toEqual(degraded('postgres'));
    await expect.poll(problems, patience).toEqual([503, ['postgres: not_reachable']]);
    // Every loop of every role has failed by now.
    for (const role of fleet) await role.waitForLine(/"loop":"heartbeat".*"event":"loop_failed"/);
    expect(await page('/healthz')).toEqual([200, { alive: true }]);
    await start();
    await expect.poll(() => page('/readyz'), patience).toEqual([200, { ready: true }]);
    for (const role of fleet)
      await role.waitForLine(/"loop":"heartbeat".*"event":"loop_recovered"/);
    expect(await work()).toBe(2);
  }, 180_000);

  it('keeps jobs while Redis is unreachable, logs it once, and runs them after its return', async () => {
    await redis.kill();
    const tenantId = await addTenant(sql);
    await scheduler.waitForLine(/queue_store_away/);
    const states = async () =>
      (
        await sql<{ state: string }[]>`
          select state from background_jobs where tenant_id = ${tenantId}`
      ).map(({ state }) => state);
    await expect.poll(states, patience).toEqual(['pending']);
    await expect.poll(() => page('/readyz'), patience).toEqual(degraded('queue_store'));
    await expect
      .poll(problems, patience)
      .toMatchObject([503, expect.arrayContaining(['queue_store: not_reachable'])]);
    expect(await page('/healthz')).toEqual([200, { alive: true }]);
    expect(await states()).toEqual(['pending']);
    const away = logged(scheduler).filter(({ error }) => error?.code === 'queue_store_away');
    expect(away).toMatchObject([{ event: 'loop_failed', loop: 'dispatch' }]);
    await redis.start();
    await expect.poll(states, patience).toEqual(['completed']);
    await expect.poll(() => page('/readyz'), patience).toEqual([200, { ready: true }]);
    await expect.poll(problems, patience).toEqual([200, []]);
  }, 180_000);

  it('still has its first processes, which stop in order', async () => {
    expect(await stopAll(fleet)).toEqual([0, 0, 0]);
  }, 60_000);
});
