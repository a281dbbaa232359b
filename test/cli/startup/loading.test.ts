/** A process loads the code of its command or role and of no other, all of it before it opens anything. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { allCommands, commandsOf } from '../../../src/cli/commands.ts';
import { runCli } from '../../support/process.ts';
import { packagesLoadedWith, readSources } from '../../source-tree.ts';

const sources = readSources(join(import.meta.dirname, '../../../src'));
const loadedWith = (path: string) => [...packagesLoadedWith(sources, path)];

const queueDrivers = ['bullmq', 'ioredis', 'pg'];
const web = ['hono', '@hono/node-server', '@bull-board/api', '@bull-board/hono'];
const llm = ['ai', '@pydantic/genai-prices'];

describe('the code of a command', () => {
  it('is found by its first word, and only its own', async () => {
    const all = await allCommands();
    const words = [...new Set(all.map(({ path }) => path.split(' ')[0] ?? ''))];
    const found = await Promise.all(words.map(commandsOf));
    expect(found.flat().map(({ path }) => path)).toEqual(all.map(({ path }) => path));
    expect(new Set(all.map(({ path }) => path)).size).toBe(all.length);
    for (const [index, word] of words.entries()) {
      expect(found[index]?.map(({ path }) => path.split(' ')[0])).toEqual(
        found[index]?.map(() => word),
      );
    }
    expect(await commandsOf('no-such-word')).toEqual([]);
  });

  it.each([
    'accounts',
    'budget',
    'dlq',
    'enqueue',
    'handlers',
    'ingest',
    'jobs',
    'keys',
    'tenants',
  ])('%s loads neither the queue store, nor the web role, nor LLM prices', (name) => {
    const loaded = loadedWith(`cli/commands/${name}.ts`);
    expect(loaded).not.toEqual([]);
    expect(loaded.filter((each) => [...queueDrivers, ...web, ...llm].includes(each))).toEqual([]);
  });

  it.each([
    ['cli/terminal/run.ts', [...queueDrivers, ...web, ...llm]],
    ['cli/commands/start.ts', [...queueDrivers, ...web, ...llm]],
    ['cli/startup/start-roles.ts', [...web, ...llm]],
    ['cli/roles/scheduler.ts', [...web, ...llm]],
    ['cli/roles/worker.ts', web],
    ['cli/runtime/worker-parts.ts', web],
    ['cli/roles/web.ts', ['ai']],
    ['cli/doctor/doctor.ts', web],
  ])('%s loads nothing of other roles', (path, others) => {
    const loaded = loadedWith(path);
    expect(loaded).not.toEqual([]);
    expect(loaded.filter((each) => others.includes(each))).toEqual([]);
  });

  it('the list of packages sees what is loaded through other files, but for types', () => {
    expect(loadedWith('cli/roles/web.ts')).toEqual(expect.arrayContaining(web));
    expect(loadedWith('cli/runtime/services.ts')).toEqual(expect.arrayContaining(queueDrivers));
    expect(loadedWith('queues/stops.ts')).not.toContain('bullmq');
  });
});

describe('before a start opens anything', () => {
  let store: Server;
  let connections = 0;
  let address: string;
  beforeAll(async () => {
    store = createServer((socket) => {
      connections += 1;
      socket.destroy();
    });
    await once(store.listen(0, '127.0.0.1'), 'listening');
    const { port } = store.address() as AddressInfo;
    address = `postgres://u:p@127.0.0.1:${port}/d`;
  });
  beforeEach(() => {
    connections = 0;
  });
  afterAll(() => store.close());

  const hooks = `--import ${new URL('loading-hooks.mjs', import.meta.url).href}`;
  const run = (args: readonly string[], env: Record<string, string>) =>
    runCli(args, { env: { DATABASE_URL: address, PORT: '0', NODE_OPTIONS: hooks, ...env } });

  it.each([
    ['scheduler', 'croner'],
    ['worker', '@pydantic/genai-prices'],
    ['web', '@bull-board/hono'],
    ['all', 'bullmq'],
    ['scheduler', 'ioredis'],
  ])('a package of %s that is missing ends it by its name: %s', async (role, name) => {
    const { code, stdout, stderr } = await run(['start', role], { WITHOUT_PACKAGE: name });
    expect({ code, stdout, connections }).toEqual({ code: 1, stdout: '', connections: 0 });
    expect(stderr).toContain(`Cannot find package '${name}'`);
    expect(stderr).not.toContain('startup_step');
  });

  it('a package that is missing ends the commands that need it, and no others', async () => {
    const needs = await run(['migrate', 'up'], { WITHOUT_PACKAGE: 'bullmq' });
    expect([needs.code, connections]).toEqual([1, 0]);
    expect(needs.stderr).toContain(`Cannot find package 'bullmq'`);
    const other = await run(['tenants', 'list'], { WITHOUT_PACKAGE: 'bullmq' });
    expect(other.stderr).toContain('cannot connect to Postgres at');
    expect([other.code, connections > 0]).toEqual([69, true]);
  });

  it('a stop signal during the loading of the code ends it with exit code 0', async () => {
    const env = { SIGNAL_AFTER: '/dist/cli/startup/start-roles.js' };
    const { code, stdout, stderr } = await run(['start', 'worker'], env);
    expect([code, stdout, stderr, connections]).toEqual([0, '', '', 0]);
  });
});
