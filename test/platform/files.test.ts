/** The files that platforms read agree with the code, the Procfile and CI. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { appJson } from '../../scripts/app-json.ts';
import { allCommands } from '../../src/cli/commands.ts';
import { matchCommand, parseInvocation } from '../../src/cli/terminal/parse.ts';
import { roleNames } from '../../src/cli/startup/steps.ts';
import { describeConfig } from '../../src/config.ts';

const commands = await allCommands();

const read = (name: string): string =>
  readFileSync(join(import.meta.dirname, '..', '..', name), 'utf8');
const compose = read('compose.yaml');
const dockerfile = read('Dockerfile');

/** Throws unless the CLI has the command, accepts its arguments, and has the role that `start` names. */
function assertKnown(words: readonly string[]): string {
  const matched = matchCommand(commands, words);
  if (matched === undefined) throw new Error(`the CLI has no command "${words.join(' ')}"`);
  const { positionals } = parseInvocation(matched.command, matched.rest);
  const [role = ''] = positionals;
  if (matched.command.path === 'start' && !['all', ...roleNames].includes(role)) {
    throw new Error(`the CLI has no role "${role}"`);
  }
  return words.join(' ');
}

const procfileCommands = new Map(
  [...read('Procfile').matchAll(/^(\w+): (?:exec )?node dist\/cli\/main\.js (.+)$/gm)].map(
    ([, type = '', command = '']) => [type, assertKnown(command.split(' '))],
  ),
);

it('the Procfile has every role and the release phase, each a command that the CLI knows', () => {
  expect(Object.fromEntries(procfileCommands)).toEqual({
    release: 'migrate up',
    web: 'start web',
    scheduler: 'start scheduler',
    worker: 'start worker',
  });
  expect(read('Procfile').trim().split('\n')).toHaveLength(procfileCommands.size);
});

it('compose.yaml runs the same commands under the same names, after the release', () => {
  const services = new Map(
    [...compose.matchAll(/^ {2}(\w+):\n {4}<<: \*purser\n {4}command: (\[.+\])$/gm)].map(
      ([, name = '', command = '[]']) => [
        name,
        assertKnown(JSON.parse(command.replaceAll("'", '"')) as string[]),
      ],
    ),
  );
  expect(Object.fromEntries(services)).toEqual(Object.fromEntries(procfileCommands));
  expect(compose).toContain('condition: service_completed_successfully');
});

it('compose.yaml sets only variables that there are, and all that production requires', () => {
  const block = /environment:\n((?: {4}[A-Z_]+: .+\n)+)/.exec(compose)?.[1] ?? '';
  const names = [...block.matchAll(/^ {4}([A-Z_]+):/gm)].map(([, name]) => name);
  const known = describeConfig().map(({ name }) => name);
  expect(names.filter((name) => !known.includes(name ?? ''))).toEqual([]);
  for (const name of ['DATABASE_URL', 'KDF_SALT', 'ENCRYPTION_KEY', 'DASHBOARD_PASSWORD']) {
    expect(names).toContain(name);
  }
});

it('the container file builds by the commands that CI runs, and starts what the CLI knows', () => {
  const steps = [...dockerfile.matchAll(/^RUN (.+)$/gm)].map(([, step]) => step);
  expect(steps).toEqual(['npm ci', 'npm run build', 'npm prune --omit=dev']);
  const ci = read('.ci/run');
  const scripts = (JSON.parse(read('package.json')) as { scripts: Record<string, string> }).scripts;
  expect(ci).toMatch(/^npm ci$/m);
  expect(ci).toMatch(/npm run test:all\b/);
  expect(scripts['test:all']).toMatch(/^npm run --silent build &&/);
  const entry = /^ENTRYPOINT (.+)$/m.exec(dockerfile)?.[1] ?? '';
  expect(JSON.parse(entry)).toEqual(['node', 'dist/cli/main.js']);
  const start = /^CMD (.+)$/m.exec(dockerfile)?.[1] ?? '[]';
  expect(assertKnown(JSON.parse(start) as string[])).toBe('start all');
});

it('the files that the container file copies exist and are not excluded by .dockerignore', () => {
  const ignored = read('.dockerignore').trim().split('\n');
  const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, paths = '']) =>
    paths.split(' '),
  );
  expect(copied.length).toBeGreaterThan(4);
  expect(copied.filter((path) => ignored.includes(path))).toEqual([]);
  const own = new Set([...copied, 'node_modules']);
  const { files } = JSON.parse(read('package.json')) as { files: string[] };
  expect(files.filter((path) => path === 'sql' && !own.has(path))).toEqual([]);
});

it('app.json names exactly the variables of the schema, PORT apart (else: npm run docs)', () => {
  expect(JSON.parse(read('app.json'))).toEqual(JSON.parse(appJson()));
  const { env, formation } = JSON.parse(read('app.json')) as {
    env: Record<string, { description: string }>;
    formation: Record<string, unknown>;
  };
  const names = describeConfig().map(({ name }) => name);
  expect([...Object.keys(env), 'PORT'].toSorted()).toEqual(names.toSorted());
  expect(Object.keys(formation).toSorted()).toEqual([...roleNames].toSorted());
  for (const { description } of Object.values(env)) expect(description).not.toBe('');
});

it('package-lock.json has an integrity for every package of the registry', () => {
  const { packages } = JSON.parse(read('package-lock.json')) as {
    packages: Record<string, { integrity?: string; link?: boolean }>;
  };
  const installed = Object.entries(packages).filter(([path, { link }]) => path !== '' && !link);
  expect(installed.length).toBeGreaterThan(300);
  const without = installed.filter(([, { integrity = '' }]) => !integrity.startsWith('sha512-'));
  expect(without.map(([path]) => path)).toEqual([]);
});

it('compose.yaml gives the superuser and the login of the fleet different passwords', () => {
  const superuser = /POSTGRES_PASSWORD: \$\{(\w+):\?\}/.exec(compose)?.[1];
  const login = /create role purser login .*password '\$\{(\w+):\?\}'/.exec(compose)?.[1];
  const used = /DATABASE_URL: postgres:\/\/purser:\$\{(\w+):\?\}@/.exec(compose)?.[1];
  expect(superuser).toBe('POSTGRES_PASSWORD');
  expect(login).toBe('PURSER_DATABASE_PASSWORD');
  expect(used).toBe(login);
});

it('every base image can be pinned by digest, and both stages of the container file have the same', () => {
  const stages = [...dockerfile.matchAll(/^FROM (\S+)/gm)].map(([, image]) => image);
  expect(stages).toEqual(['${NODE_IMAGE}', '${NODE_IMAGE}']);
  const [, fallback = ''] = /^ARG NODE_IMAGE=(\S+)$/m.exec(dockerfile) ?? [];
  const images = [...compose.matchAll(/^ +(?:image|NODE_IMAGE): (\S+)$/gm)].map(
    ([, image = '']) => image,
  );
  expect(new Set(images)).toEqual(
    new Set([
      `\${NODE_IMAGE:-${fallback}}`,
      '${POSTGRES_IMAGE:-postgres:18}',
      '${REDIS_IMAGE:-redis:7}',
    ]),
  );
});
