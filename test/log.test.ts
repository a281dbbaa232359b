/** A logger never throws, whatever it is given and wherever its lines go; and texts are cut before they are redacted. */
import { spawnSync } from 'node:child_process';
import { existsSync, openSync } from 'node:fs';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { createLogger, redactUrls } from '../src/log.ts';

const hostile: Record<string, () => unknown> = {
  'a getter that throws': () => ({
    get x() {
      throw new Error('no');
    },
  }),
  'a proxy that throws': () =>
    new Proxy(
      {},
      {
        ownKeys: () => {
          throw new Error('no');
        },
      },
    ),
  'a toJSON that throws': () => ({
    x: {
      toJSON: () => {
        throw new Error('no');
      },
    },
  }),
  'an error whose message throws': () => ({
    error: Object.defineProperty(new Error('x'), 'message', {
      get: () => {
        throw new Error('no');
      },
    }),
  }),
  'an error whose stack is no text': () => ({ error: Object.assign(new Error('x'), { stack: 7 }) }),
  'an error that is an object without a prototype': () => ({
    error: Object.create(null) as unknown,
  }),
  'a symbol as error': () => ({ error: Symbol('x') }),
  'a BigInt': () => ({ x: 1n }),
  'a cycle': () => {
    const value: Record<string, unknown> = {};
    value['self'] = value;
    return value;
  },
  'a deep value': () => {
    let value: object = {};
    for (let level = 0; level < 100_000; level += 1) value = { value };
    return value;
  },
};

describe('a logger', () => {
  it.each(Object.keys(hostile))('given %s writes the event and does not throw', (what) => {
    const lines: string[] = [];
    const log = createLogger({
      level: 'info',
      role: 'test',
      destination: { write: (line) => void lines.push(line) },
    });
    log.child({ jobId: '1' }).info(hostile[what]?.(), 'said');
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ event: 'said', jobId: '1' });
  });

  it('whose destination throws does not throw', () => {
    const destination = {
      write: () => {
        throw new Error('ENOSPC');
      },
    };
    const log = createLogger({ level: 'info', role: 'test', destination });
    expect(() => log.info({ x: 1 }, 'said')).not.toThrow();
  });

  it.runIf(existsSync('/dev/full'))(
    'on a full device loses its lines, and the process goes on',
    () => {
      const script = `
      const { createLogger } = await import('./src/log.ts');
      const log = createLogger({ level: 'info', role: 'test' });
      for (let n = 0; n < 1000; n += 1) log.info({ n, text: 'x'.repeat(5000) }, 'said');
      setTimeout(() => console.log('goes on'), 100);`;
      const { stdout, status } = spawnSync(
        process.execPath,
        ['--import', 'tsx', '--input-type=module', '-e', script],
        { stdio: ['ignore', 'pipe', openSync('/dev/full', 'w')], encoding: 'utf8' },
      );
      expect([stdout, status]).toEqual(['goes on\n', 0]);
    },
  );
});

it.each([
  ['of another realm', () => runInNewContext('new RangeError("told")') as unknown],
  ['whose message is no text', () => Object.assign(new Error('x'), { message: ['told'] })],
  ['that is an object with a message', () => ({ message: 'told' })],
])('an error %s is logged with its message', (_, make) => {
  const lines: string[] = [];
  const log = createLogger({
    level: 'info',
    role: 'test',
    destination: { write: (line) => void lines.push(line) },
  });
  log.error({ error: make() }, 'failed');
  const { error } = JSON.parse(lines[0] ?? '') as { error: Record<string, unknown> };
  expect(error['message']).toMatch(/^(told|\["told"\])$/);
});

describe('a text of 10 MB', () => {
  it.each([
    ['one word', 'x'.repeat(10_000_000)],
    ['URLs without end', 'postgres://'.repeat(1_000_000)],
    ['at signs', `a://${'@'.repeat(10_000_000)}`],
    ['question marks', '?password='.repeat(1_000_000)],
  ])('of %s is redacted as far as it is kept', (_, text) => {
    expect(redactUrls(text, 4_000).length).toBeLessThan(10_000);
  });

  it('shows no part of a password where it is cut', () => {
    for (let length = 1; length < 60; length += 1) {
      const text = redactUrls('see postgres://ada:s3cret-s3cret@db/x?password=s3cret end', length);
      expect(text).not.toMatch(/s3|ada:/);
    }
  });
});

it('an error of 10 MB is logged in bounded size', () => {
  const lines: string[] = [];
  const log = createLogger({
    level: 'info',
    role: 'test',
    destination: { write: (line) => void lines.push(line) },
  });
  log.error({ error: new Error('m'.repeat(10_000_000)) }, 'failed');
  expect(lines[0]?.length).toBeLessThan(60_000);
});
