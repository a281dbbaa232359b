/** A web role on a free port over a real database and a real queue store, and requests to it. */
import { payloadDoor } from '../../src/cli/runtime/payload-door.ts';
import { loadKeyConfig } from '../../src/config.ts';
import { createLogger } from '../../src/log.ts';
import type { Logger } from '../../src/log.ts';
import { createMetrics } from '../../src/metrics.ts';
import type { Metrics } from '../../src/metrics.ts';
import type { Database } from '../../src/db/database.ts';
import { migrateQueueTables, openQueueBackend } from '../../src/queues/backend.ts';
import type { QueueBackend } from '../../src/queues/backend.ts';
import { createTransport } from '../../src/queues/transport.ts';
import type { Transport } from '../../src/queues/transport.ts';
import { registerJobTypes } from '../../src/jobs/registration.ts';
import { loginPaces } from '../../src/web/access/login-limits.ts';
import type { LoginPaces } from '../../src/web/access/login-limits.ts';
import { startWeb } from '../../src/web/web.ts';
import type { PayloadDoor } from '../../src/web/payload-door.ts';
import type { WebOptions, WebService } from '../../src/web/web.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addTenant } from '../support/tenants.ts';

export const credentials = { user: 'operator', password: 'correct horse battery' };

interface WebRequest {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface WebFixture {
  readonly test: TestDatabase;
  readonly database: Database;
  readonly backend: QueueBackend;
  readonly transport: Transport;
  readonly metrics: Metrics;
  readonly payloads: PayloadDoor;
  readonly log: Logger;
  readonly web: WebService;
  readonly url: string;
  /** Every line that the process logged. */
  readonly logged: string[];
  readonly tenantId: string;
  /** With login and, for changes, the origin of the page; headers given replace those. */
  request(path: string, init?: WebRequest): Promise<Response>;
  deadLetter(fields?: { finishedAt?: Date }): Promise<string>;
  close(): Promise<void>;
}

export const basic = (user: string, password: string): string =>
  `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;

function recordingLogger(logged: string[]): Logger {
  return createLogger({
    level: 'debug',
    role: 'web',
    destination: { write: (line: string) => logged.push(line) },
  });
}

export type FixtureOptions = Pick<
  WebOptions,
  'stalledAfterMs' | 'trustedProxies' | 'metricsPublic' | 'loginPaces'
> & {
  /** In place of what the web role checks edited payloads by. */
  readonly schemaOf?: PayloadDoor['schemaOf'];
  /** PURSER_HANDLERS of the web role. */
  readonly handlers?: string;
  /** ENCRYPTION_KEY and what goes with it. */
  readonly keys?: Readonly<Record<string, string>>;
};

const hourMs = 3_600_000;

/** The usual bursts, without waits, and with no further turn while a test runs. */
export const refusing: LoginPaces = {
  address: { ...loginPaces.address, everyMs: hourMs },
  account: { ...loginPaces.account, everyMs: hourMs },
  total: { ...loginPaces.total, everyMs: hourMs },
  maxWaitMs: 0,
  wrongAfterMs: 0,
};

/** On the Postgres backend, or on Redis where `redisUrl` is given. */
export async function startFixture(
  redisUrl?: string,
  { handlers, keys = {}, schemaOf, ...options }: FixtureOptions = {},
): Promise<WebFixture> {
  const test = await freshDatabase();
  const logged: string[] = [];
  const log = recordingLogger(logged);
  const store = { databaseUrl: test.url, applicationName: 'purser test web' };
  if (redisUrl === undefined) await migrateQueueTables(store);
  const database = await test.open({ tenantConnections: 1 });
  const backend = openQueueBackend({
    ...store,
    redisUrl,
    workers: 0,
    fleetId: database.fleetId,
    log,
  });
  const transport = createTransport(backend);
  const metrics = createMetrics();
  await registerJobTypes(database.system, [
    {
      type: 'report',
      timeoutMs: 1_000,
      maxAttempts: 3,
      onBudget: 'park',
      giveUpAfterMs: 60_000,
      payloadSchema: {},
    },
  ]);
  const tenantId = await addTenant(database.system);
  const jobTypes = async (): Promise<string[]> => {
    const rows = await database.system<{ job_type: string }[]>`
      select job_type from job_types order by job_type`;
    return rows.map(({ job_type }) => job_type);
  };
  const config = { ...loadKeyConfig(keys), PURSER_HANDLERS: handlers, PURSER_BUILTINS: [] };
  const door = payloadDoor(config, database.system);
  const payloads = schemaOf === undefined ? door : { ...door, schemaOf };
  const web = await startWeb({
    loginPaces: { ...loginPaces, wrongAfterMs: 0 },
    ...options,
    database,
    backend,
    transport,
    jobTypes,
    credentials,
    payloads,
    metrics,
    log,
    version: '1.2.3',
    host: '127.0.0.1',
    port: 0,
  });
  const url = `http://127.0.0.1:${web.port}`;
  return {
    test,
    database,
    backend,
    transport,
    metrics,
    payloads,
    log,
    web,
    url,
    logged,
    tenantId,
    request: (path, init = {}) =>
      fetch(`${url}${path}`, {
        redirect: 'manual',
        ...init,
        headers: {
          authorization: basic(credentials.user, credentials.password),
          origin: url,
          ...init.headers,
        },
      }),
    deadLetter: async ({ finishedAt = new Date() } = {}) => {
      const [row] = await database.system<{ id: string }[]>`
        insert into background_jobs
          (tenant_id, job_type, state, payload, error, attempt, max_attempts, give_up_at, finished_at)
        values (${tenantId}, 'report', 'dead_letter', '{"secret": "in the payload"}',
          '{"code": "boom", "message": "in the message"}', 3, 3, now(), ${finishedAt})
        returning id`;
      if (row === undefined) throw new Error('no dead letter was made');
      return row.id;
    },
    close: async () => {
      await web.stop();
      await transport.close();
      await backend.close();
      await test.close();
    },
  };
}
