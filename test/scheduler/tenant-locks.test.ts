/** A tenant that holds a lock for as long as it likes delays nobody else. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Database } from '../../src/db/database.ts';
import { systemStatements } from '../../src/db/system-statements.ts';
import { openQueueBackend } from '../../src/queues/backend.ts';
import type { QueueBackend } from '../../src/queues/backend.ts';
import { silentLog } from '../support/llm-attempt.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';
import { addWalkedTypes, arrangeTenant } from './arranged-tenant.ts';
import { fleetStatements } from './fleet-statements.ts';
import { deleteTenants, holdLock, listTenantLocks } from './locking-tenant.ts';
import { startWalk, within } from './walk.ts';

let test: TestDatabase;
let database: Database;
let backend: QueueBackend;
beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open({ level: 'L3', systemConnections: 8 });
  await addWalkedTypes(test.sql);
  backend = openQueueBackend({
    databaseUrl: test.url,
    workers: 0,
    fleetId: database.fleetId,
    applicationName: 'purser test',
    log: silentLog,
  });
});
afterAll(async () => {
  await backend.close();
  await test.close();
});

const sources = fileURLToPath(new URL('../../src/', import.meta.url));
const migrations = fileURLToPath(new URL('../../sql/', import.meta.url));
const writes =
  /\b(insert into|update (public|purser|llm_)|delete from|for (no key )?update|for (key )?share|lock table)/i;

/** Functions of the migrations that write or lock rows, or call one that does. */
function lockingSqlFunctions(): string[] {
  const text = readdirSync(migrations)
    .filter((name) => !name.endsWith('.down.sql'))
    .map((name) => readFileSync(migrations + name, 'utf8'))
    .join('\n');
  const bodies = [
    ...text.matchAll(/create (?:or replace )?function purser\.(\w+)\(([\s\S]*?)\$\$;/g),
  ].map(([, name = '', body = '']) => ({ name, body: body.replaceAll(/--.*$/gm, '') }));
  const found = new Set(bodies.filter(({ body }) => writes.test(body)).map(({ name }) => name));
  for (let size = -1; size !== found.size;) {
    size = found.size;
    const calls = new RegExp(`purser\\.(${[...found].join('|')})\\(`);
    for (const { name, body } of bodies) if (calls.test(body)) found.add(name);
  }
  return [...found];
}
const locks = new RegExp(
  `${writes.source}|purser\\.(${lockingSqlFunctions().join('|')})\\(|pg_advisory_lock`,
  'i',
);

/** Block comments, and lines that are comments. */
const comments = /\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm;
/** Messages that quote SQL. */
const notStatements = [
  'cli/doctor/checklist/database.ts (top level)',
  'costs/uploads/report.ts describeMoved',
  'costs/uploads/report.ts describeSame',
  'db/locks/broken.ts brokenLock',
];

/** `file function` of every function with a statement that writes or locks rows. */
function lockingFunctions(): string[] {
  const files = readdirSync(sources, { recursive: true, encoding: 'utf8' });
  return files
    .filter((name) => /\.tsx?$/.test(name) && name !== 'db/system-statements.ts')
    .flatMap((file) => {
      const code = readFileSync(sources + file, 'utf8').replaceAll(comments, '');
      const parts = code.split(/\n(?=(?:export )?(?:async )?function\*? )/);
      return parts.flatMap((part) => {
        const name = /^(?:export )?(?:async )?function\*? (\w+)/.exec(part)?.[1];
        return locks.test(part) ? [`${file} ${name ?? '(top level)'}`] : [];
      });
    });
}

describe('the registry of system statements', () => {
  it('has every function of the sources that writes or locks rows, and no other', () => {
    const found = lockingFunctions().filter((name) => !notStatements.includes(name));
    expect(found.length).toBeGreaterThan(50);
    expect(found.toSorted()).toEqual(Object.keys(systemStatements).toSorted());
  });

  it('is walked: every statement that a fleet runs by itself is run against every lock', () => {
    const covered = fleetStatements.flatMap(({ covers }) => covers);
    const ofFleet = Object.entries(systemStatements)
      .filter(([, rule]) => rule !== 'operator' && rule !== 'tenant')
      .map(([name]) => name);
    expect(covered.toSorted()).toEqual(ofFleet.toSorted());
  });
});

/** More than the lock timeout of a batch and of its rows one by one. */
const withinMs = 30_000;

it('every statement of the fleet does its work while a tenant holds any lock that it can take', async () => {
  const tenantLocks = await listTenantLocks(test.sql);
  const walk = startWalk();
  for (const lock of tenantLocks) {
    if (walk.hasEnough()) break;
    const holder = await within('arranging a tenant', withinMs, arrangeTenant(test.sql));
    const free = await within('arranging a tenant', withinMs, arrangeTenant(test.sql));
    const held = await holdLock(database.tenant, holder, lock);
    for (const { name, run } of fleetStatements) {
      if (walk.hasEnough()) break;
      await walk.step(`${lock.name} | ${name}`, withinMs, () =>
        run(database.system, [holder, free], free, backend),
      );
    }
    await held.release();
    await deleteTenants(test.sql);
  }
  process.stderr.write(
    `  ${tenantLocks.length} locks of a tenant, ${fleetStatements.length} statements, ${walk.runs()} runs\n`,
  );
  expect(walk.failures).toEqual([]);
}, 300_000);
