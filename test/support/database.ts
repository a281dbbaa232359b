/**
 * A database of its own for a test file, cloned from the migrated template. Closing it fails the
 * file if any connection to it was left open.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { inject } from 'vitest';
import { connect } from '../../src/db/connect.ts';
import type { Sql } from '../../src/db/connect.ts';
import { openDatabase } from '../../src/db/database.ts';
import type { Database } from '../../src/db/database.ts';
import { loginUrl } from './postgres.ts';
import type { TestLogin } from './postgres.ts';

/** A closed connection takes a moment to leave pg_stat_activity. */
const goneMs = 5_000;

export interface TestDatabase {
  readonly name: string;
  /** DATABASE_URL: the owner login, no superuser. */
  readonly url: string;
  /** TENANT_DATABASE_URL for level L3. */
  readonly tenantUrl: string;
  /** A small pool on `url`: the system's. */
  readonly sql: Sql;
  /** Both pools as a role opens them. Closed by close(). */
  open(options?: OpenOptions): Promise<Database>;
  /** Ends its pools, throws naming connections that are still open, and drops the database. */
  close(): Promise<void>;
}

interface OpenOptions {
  /** Default L2. L3 logs tenant code in as purser_app_tenant. */
  readonly level?: 'L2' | 'L3';
  readonly tenantConnections?: number;
  readonly systemConnections?: number;
}

/** A migrated database at tenancy level L2 (L3 through `tenantUrl`). Takes about 60 ms. */
export function freshDatabase(): Promise<TestDatabase> {
  const server = inject('testPostgres');
  return createDatabase('purser_app', server.templateName);
}

/** A database without any migration, owned by `login`. As `purser_plain` migrating makes level L1. */
export function emptyDatabase(login: TestLogin = 'purser_app'): Promise<TestDatabase> {
  return createDatabase(login, 'template1');
}

async function createDatabase(login: TestLogin, template: string): Promise<TestDatabase> {
  const server = inject('testPostgres');
  const name = `${server.prefix}_${randomBytes(6).toString('hex')}`;
  const admin = connect(loginUrl(server, login, 'postgres'), {
    max: 1,
    applicationName: 'purser test database',
  });
  try {
    await admin`create database ${admin(name)} template ${admin(template)}`;
  } catch (error) {
    await admin.end({ timeout: 5 });
    throw error;
  }
  const url = loginUrl(server, login, name);
  const tenantUrl = loginUrl(server, 'purser_app_tenant', name);
  const sql = connect(url, { max: 4, applicationName: 'purser test' });
  const opened: Database[] = [];
  return {
    name,
    url,
    tenantUrl,
    sql,
    open: async (options = {}) => {
      const database = await openDatabase({
        url,
        tenantUrl: options.level === 'L3' ? tenantUrl : undefined,
        applicationName: 'purser test role',
        systemConnections: options.systemConnections ?? 4,
        tenantConnections: options.tenantConnections ?? 4,
      });
      opened.push(database);
      return database;
    },
    close: async () => {
      try {
        await Promise.all([sql.end({ timeout: 5 }), ...opened.map((database) => database.close())]);
        const leaked = await remainingConnections(admin, name);
        // Not by force where nothing leaked: an autovacuum worker gives way, but may not be terminated by us.
        const force = leaked.length > 0 ? admin`with (force)` : admin``;
        await admin`drop database if exists ${admin(name)} ${force}`.catch((error: unknown) => {
          // Sessions of another login cannot be ended by us; the run's teardown drops the rest.
          if (leaked.length === 0) throw error;
        });
        if (leaked.length > 0) {
          throw new Error(`connections to the test database were left open: ${leaked.join('; ')}`);
        }
      } finally {
        await admin.end({ timeout: 5 });
      }
    },
  };
}

async function remainingConnections(admin: Sql, name: string): Promise<string[]> {
  const deadline = Date.now() + goneMs;
  for (;;) {
    const rows = await admin<{ pid: number; usename: string; application_name: string }[]>`
      select pid, usename, application_name from pg_stat_activity
      where datname = ${name} and backend_type = 'client backend'`;
    if (rows.length === 0 || Date.now() > deadline) {
      return rows.map((row) => `pid ${row.pid} ${row.usename} "${row.application_name}"`);
    }
    await sleep(25);
  }
}
