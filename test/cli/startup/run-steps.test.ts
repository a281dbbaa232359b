/** The runner of start-up steps: which faults it retries, which end the start, and that a stop signal ends it at once. */
import { expect, it } from 'vitest';
import { startupRunner } from '../../../src/cli/startup/run-steps.ts';
import { PurserError } from '../../../src/errors.ts';
import { silentLog } from '../../support/llm-attempt.ts';

const variables = { database: 'DATABASE_URL', queue_store: 'REDIS_URL' };

function runner() {
  const stop = new AbortController();
  const step = startupRunner({ log: silentLog, stopSignal: stop.signal, variables });
  return { stop, step };
}

const withCode = (code: string, message = code): Error =>
  Object.assign(new Error(message), { code });
const redisReply = (message: string): Error =>
  Object.assign(new Error(message), { name: 'ReplyError' });

it.each([
  'ECONNREFUSED',
  'ENOTFOUND',
  'CONNECT_TIMEOUT',
  'CONNECTION_CLOSED',
  '53300',
  '57P01',
  '57P03',
  '25006',
  '08006',
  '55P03',
])('tries again after %s', async (code) => {
  const { step } = runner();
  let attempts = 0;
  const result = await step('register_job_types', () => {
    attempts += 1;
    if (attempts === 1) throw withCode(code);
    return 'done';
  });
  expect([result, attempts]).toEqual(['done', 2]);
});

it.each([
  ['a missing migration', new PurserError('not_migrated', 'x', { exitCode: 78 })],
  ['a missing table', withCode('42P01')],
  ['an untrusted certificate', new PurserError('certificate_refused', 'x', { exitCode: 69 })],
])('ends the start at once by %s', async (_, fault) => {
  const { step } = runner();
  let attempts = 0;
  const started = step('check_migrations', () => {
    attempts += 1;
    throw fault;
  });
  await expect(started).rejects.toBe(fault);
  expect(attempts).toBe(1);
});

it.each([
  ['connect_database', 'DATABASE_URL', withCode('28P01', 'password authentication failed')],
  ['connect_database', 'DATABASE_URL', withCode('3D000', 'database "x" does not exist')],
  ['connect_database', 'DATABASE_URL', withCode('08P01', 'no such user: x')],
  ['connect_queue_store', 'REDIS_URL', redisReply('WRONGPASS invalid username-password pair')],
  ['connect_queue_store', 'REDIS_URL', redisReply('NOAUTH Authentication required.')],
] as const)(
  'tries %s again for a while when the login of %s is refused, then ends with 78',
  async (name, variable, fault) => {
    const { step } = runner();
    let attempts = 0;
    const started = step(name, () => {
      attempts += 1;
      throw fault;
    });
    await expect(started).rejects.toMatchObject({
      code: 'login_refused',
      exitCode: 78,
      message: expect.stringContaining(variable),
    });
    expect(attempts).toBeGreaterThan(2);
  },
  20_000,
);

it('goes on when a new password takes a moment to be known', async () => {
  const { step } = runner();
  let attempts = 0;
  await step('connect_database', () => {
    attempts += 1;
    if (attempts < 3) throw withCode('28P01');
  });
  expect(attempts).toBe(3);
});

it('stops at once during a pause, and during an attempt that hangs, whose signal aborts', async () => {
  const pausing = runner();
  const paused = pausing.step('connect_database', () => {
    setTimeout(() => pausing.stop.abort(), 20);
    throw withCode('ECONNREFUSED');
  });
  await expect(paused).rejects.toMatchObject({ code: 'start_stopped' });

  const hanging = runner();
  let over = false;
  const hung = hanging.step('connect_database', (signal) => {
    signal.addEventListener('abort', () => {
      over = true;
    });
    setTimeout(() => hanging.stop.abort(), 20);
    return new Promise(() => {});
  });
  await expect(hung).rejects.toMatchObject({ code: 'start_stopped' });
  expect(over).toBe(true);
  await expect(hanging.step('serve', () => 1)).rejects.toMatchObject({ code: 'start_stopped' });
  // An attempt that hangs is given up after 15 s anyway.
}, 10_000);
