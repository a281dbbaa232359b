/**
 * The cost of a tenant transaction compared with the same query without one: time as a ratio, and round trips to the
 * server, counted by a proxy. Starts its own server.
 */
import { once } from 'node:events';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect as connectTcp, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { prepareDatabase } from '../src/cli/runtime/prepare-database.ts';
import { connect } from '../src/db/connect.ts';
import { openDatabase } from '../src/db/database.ts';
import { startEmbeddedPostgres } from '../src/db/embedded/embedded.ts';
import { openOperatorToken, tenantSql } from '../src/db/tenant.ts';

const tenants = 200;
const rowsOfEach = 50;
const warmUp = 100;
const samples = 1_000;
const inOneTransaction = 10;

export interface TenancyRow {
  readonly operation: string;
  readonly medianUs: number;
  readonly p99Us: number;
  readonly roundTrips: number;
  /** Median divided by the median of the same operation without a tenant. */
  readonly ratio: number;
}

interface CountingProxy {
  readonly port: number;
  /** Number of times that the client sent after the server had sent. */
  readonly turns: () => number;
  stop(): Promise<void>;
}

async function startProxy(to: { host: string; port: number }): Promise<CountingProxy> {
  let turns = 0;
  const server = createServer((client) => {
    let serverSent = true;
    const upstream = connectTcp(to.port, to.host);
    client.setNoDelay(true);
    upstream.setNoDelay(true);
    client.on('data', (bytes) => {
      if (serverSent) turns += 1;
      serverSent = false;
      upstream.write(bytes);
    });
    upstream.on('data', (bytes) => {
      serverSent = true;
      client.write(bytes);
    });
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    turns: () => turns,
    stop: async () => {
      server.close();
      await once(server, 'close');
    },
  };
}

interface Figures {
  readonly sortedUs: readonly number[];
  readonly roundTrips: number;
}

async function measure(proxy: CountingProxy, operation: () => Promise<unknown>): Promise<Figures> {
  for (let i = 0; i < warmUp; i += 1) await operation();
  const before = proxy.turns();
  const tookUs: number[] = [];
  for (let i = 0; i < samples; i += 1) {
    const startedNs = process.hrtime.bigint();
    await operation();
    tookUs.push(Number(process.hrtime.bigint() - startedNs) / 1000);
  }
  const roundTrips = (proxy.turns() - before) / samples;
  return { sortedUs: tookUs.toSorted((a, b) => a - b), roundTrips };
}

function row(operation: string, figures: Figures, plain: Figures): TenancyRow {
  const at = ({ sortedUs }: Figures, share: number) =>
    sortedUs[Math.floor(sortedUs.length * share)] ?? Number.NaN;
  return {
    operation,
    medianUs: at(figures, 0.5),
    p99Us: at(figures, 0.99),
    roundTrips: figures.roundTrips,
    ratio: at(figures, 0.5) / at(plain, 0.5),
  };
}

/** Levels L2 and L3, each compared with the plain query of the owner's login. */
export async function run(): Promise<{ name: string; rows: TenancyRow[] }> {
  const dataDir = await mkdtemp(join(tmpdir(), 'purser-bench-tenancy-'));
  const server = await startEmbeddedPostgres({ dataDir, durable: false });
  const admin = connect(server.bootstrapUrl, { max: 1, applicationName: 'bench setup' });
  const password = randomBytes(12).toString('hex');
  await admin.unsafe(`create role bench_tenant login password '${password}'`);
  await admin`grant bench_tenant to purser with admin option`;
  await admin.end();
  await prepareDatabase({ url: server.url, tenantLogin: 'bench_tenant' });
  const address = new URL(server.url);
  const proxy = await startProxy({ host: address.hostname, port: Number(address.port) });
  const through = (login?: { user: string; password: string }): string => {
    const url = new URL(server.url);
    url.hostname = '127.0.0.1';
    url.port = String(proxy.port);
    if (login !== undefined) [url.username, url.password] = [login.user, login.password];
    return url.href;
  };
  const rows: TenancyRow[] = [];
  try {
    for (const level of ['L2', 'L3'] as const) {
      const database = await openDatabase({
        url: through(),
        tenantUrl: level === 'L3' ? through({ user: 'bench_tenant', password }) : undefined,
        applicationName: 'bench tenancy',
        systemConnections: 1,
        tenantConnections: 1,
      });
      const { system } = database;
      if (level === 'L2') {
        await system`insert into tenants (id) select 'tenant ' || n from generate_series(1, ${tenants}) n`;
        await system`
          insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
          select id, 'account ' || n, 'x', 1 from tenants, generate_series(1, ${rowsOfEach}) n`;
        await system`analyze aws_accounts`;
      }
      const token = await openOperatorToken(system, 'tenant 7', 3_600_000);
      const sql = tenantSql(database.tenant, { token });
      const times = Array.from({ length: inOneTransaction });
      const plain = await measure(
        proxy,
        () => system`
          select credentials from aws_accounts where tenant_id = 'tenant 7' and account_id = ${'account 7'}`,
      );
      const one = await measure(
        proxy,
        () => sql`select credentials from aws_accounts where account_id = ${'account 7'}`,
      );
      const plainTen = await measure(proxy, () =>
        system.begin(async (tx) => {
          for (const _ of times) {
            await tx`
              select credentials from aws_accounts where tenant_id = 'tenant 7' and account_id = ${'account 7'}`;
          }
        }),
      );
      const ten = await measure(proxy, () =>
        sql.begin(async (tx) => {
          for (const _ of times) {
            await tx`select credentials from aws_accounts where account_id = ${'account 7'}`;
          }
        }),
      );
      rows.push(row(`${level}: the query by itself`, plain, plain));
      rows.push(row(`${level}: the query as ctx.sql`, one, plain));
      rows.push(row(`${level}: ten in a transaction`, plainTen, plainTen));
      rows.push(row(`${level}: ten in ctx.sql.begin`, ten, plainTen));
      await database.close();
    }
  } finally {
    await proxy.stop();
    await server.stop();
    await rm(dataDir, { recursive: true, force: true });
  }
  return { name: 'tenancy', rows };
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { name, rows } = await run();
  console.log(`${name}: ${tenants} tenants, one connection, a proxy in between`);
  for (const { operation, medianUs, p99Us, roundTrips, ratio } of rows) {
    const figures = `median ${medianUs.toFixed(0)} us, p99 ${p99Us.toFixed(0)} us`;
    console.log(
      `  ${operation}: ${figures}, ${roundTrips.toFixed(1)} round trips, ${ratio.toFixed(2)}x`,
    );
  }
}
