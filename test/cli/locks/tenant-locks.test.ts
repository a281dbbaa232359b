/** An operator's command that meets a tenant's lock goes on or names who holds it, and holds up nobody meanwhile. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { allCommands } from '../../../src/cli/commands.ts';
import type { Database } from '../../../src/db/database.ts';
import { systemStatements } from '../../../src/db/system-statements.ts';
import { curFile } from '../../costs/exports/aws-cur/file.ts';
import { addWalkedTypes, arrangeTenant } from '../../scheduler/arranged-tenant.ts';
import { fleetStatements } from '../../scheduler/fleet-statements.ts';
import { deleteTenants, holdLock, listTenantLocks } from '../../scheduler/locking-tenant.ts';
import { startWalk } from '../../scheduler/walk.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { invokeWith } from '../in-process.ts';
import type { Outcome } from '../in-process.ts';
import { otherCommands, walkedElsewhere } from './unwalked.ts';
import { arrangeForOperator, keys, walkedCommands } from './walked-commands.ts';
import type { ForOperator, WalkedCommand } from './walked-commands.ts';

const commands = await allCommands();

let test: TestDatabase;
let database: Database;
let folder: string;
let file: string;
beforeAll(async () => {
  test = await freshDatabase();
  database = await test.open({ level: 'L3', systemConnections: 8 });
  await addWalkedTypes(test.sql);
  folder = await mkdtemp(join(tmpdir(), 'purser-locks-'));
  file = join(folder, 'cur.csv');
  await writeFile(file, curFile([{}, { 'lineItem/UnblendedCost': '2' }]));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
  await test.close();
});

const run = ({ path, args }: WalkedCommand, tenant: ForOperator): Promise<Outcome> => {
  const env = { DATABASE_URL: test.url, TENANT_DATABASE_URL: test.tenantUrl, ...keys };
  const invoke = invokeWith(env, [Buffer.from('credentials-or-a-key')]);
  return invoke(...path.split(' '), ...(args?.(tenant, file) ?? []));
};

const unavailable = 69;
/** More than a cancelled wait of 6 s, the 5 s of the statement that marks an upload as failed, and all their starts. */
const withinMs = 60_000;
const fleetWithinMs = 30_000;

/** What is wrong with the end of a command that may have met a lock. */
function faultOf({ finds }: WalkedCommand, { code, out, err }: Outcome): string | undefined {
  if (code === 0 || (code === 1 && finds?.test(out) === true)) return undefined;
  const text = `${err}\n${out}`;
  // The tenant, or another command of the walk.
  const clear = /lock/.test(text) && /pid \d+ \(login purser_app/.test(text);
  return clear ? undefined : `exit ${code}: ${text}`;
}

describe('the walk', () => {
  it('has every command, and every statement of the registry that only a command runs', () => {
    const walked = walkedCommands.map(({ path }) => path);
    expect([...new Set(walked), ...Object.keys(otherCommands)].toSorted()).toEqual(
      commands.map(({ path }) => path).toSorted(),
    );
    const covered = walkedCommands.flatMap(({ covers = [] }) => covers);
    const ofOperators = Object.entries(systemStatements)
      .filter(([, rule]) => rule === 'operator')
      .map(([name]) => name);
    expect([...covered, ...walkedElsewhere].toSorted()).toEqual(ofOperators.toSorted());
  });

  it('begins with commands that all succeed where no lock is held', async () => {
    const tenant = await arrangeForOperator(test.sql);
    for (const command of walkedCommands) {
      expect([command.path, faultOf(command, await run(command, tenant))]).toEqual([
        command.path,
        undefined,
      ]);
    }
    await test.sql`delete from pauses`;
    await deleteTenants(test.sql);
  }, 180_000);
});

/** Of the fleet's, those of every second. */
const everySecond = ['claim schedules', 'dispatch', 'begin', 'finish', 'renew'];

it('every command goes on or names the holder of the lock, and the fleet goes on meanwhile', async () => {
  const locks = await listTenantLocks(test.sql);
  const walk = startWalk();
  let refused = 0;
  for (const lock of locks) {
    if (walk.hasEnough()) break;
    const [holder, free] = [await arrangeForOperator(test.sql), await arrangeTenant(test.sql)];
    const held = await holdLock(database.tenant, holder, lock);
    const met = walkedCommands.filter(({ reads }) => reads !== true || lock.keepsReaders === true);
    const running = met.map((command) =>
      walk.step(`${lock.name} | ${command.path}`, withinMs, async () => {
        const end = await run(command, holder);
        if (end.code === unavailable) refused += 1;
        const fault = faultOf(command, end);
        if (fault !== undefined) throw new Error(fault);
        return true;
      }),
    );
    await sleep(1_000);
    for (const name of everySecond) {
      await walk.step(`${lock.name} | fleet, ${name}`, fleetWithinMs, async () => {
        const statement = fleetStatements.find((each) => each.name === name);
        const backend = { ping: () => Promise.resolve() };
        return (await statement?.run(database.system, [free], free, backend)) === true;
      });
    }
    await Promise.all(running);
    await held.release();
    await test.sql`delete from pauses`;
    await deleteTenants(test.sql);
  }
  process.stderr.write(
    `  ${locks.length} locks of a tenant, ${walkedCommands.length} commands, ${walk.runs()} runs, ` +
      `${refused} named the holder\n`,
  );
  expect(walk.failures).toEqual([]);
}, 600_000);
