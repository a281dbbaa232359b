import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { SecretTexts } from '../../../../src/crypto/secrets/texts.ts';
import { AttemptLog } from '../../../../src/worker/executors/thread/attempt-log.ts';
import type { Report } from '../../../../src/worker/executors/thread/attempt-log.ts';

function logOf(...secrets: string[]) {
  const texts = new SecretTexts();
  for (const secret of secrets) texts.add(secret);
  const reports: Report[] = [];
  const shown: string[] = [];
  const log = new AttemptLog((report) => reports.push(report), texts);
  const about = { jobId: '20261', tenantId: 'acme', jobType: 'info_job' };
  const stderr = { write: (line: string) => void shown.push(line) };
  return { log, reports, shown, logger: log.logger({ level: 'debug', stderr, about }) };
}

test('a line is found by its level, time and job, whatever a secret may spell', () => {
  const { log, reports, shown, logger } = logOf(
    'info',
    String(new Date().getUTCFullYear()),
    '2026',
  );
  logger.info({ n: 'info' }, 'an info');
  log.flush();
  const line: unknown = JSON.parse(shown[0] ?? '');
  expect(line).toEqual({
    level: 'info',
    at: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
    role: 'worker',
    jobId: '20261',
    tenantId: 'acme',
    jobType: 'info_job',
    n: '[redacted]',
    event: 'an [redacted]',
  });
  expect(reports[0]?.lines).toEqual([
    {
      level: 'info',
      at: expect.stringMatching(/^\d{4}-/),
      text: 'an [redacted] {"n":"[redacted]"}',
    },
  ]);
});

test('a secret does not get out as one of the words that stay', () => {
  const { shown, logger } = logOf('a-secret');
  logger.info({ level: 'a-secret', at: 'a-secret', jobId: 'a-secret', tenantId: 'a-secret' });
  expect(shown.join('')).not.toContain('a-secret');
});

test('an error of another realm, or whose message is no text, is logged with its message', () => {
  const { shown, logger } = logOf();
  const foreign: unknown = runInNewContext('new RangeError("from vm")');
  const odd = Object.assign(new Error('x'), { message: { a: 1 } });
  for (const error of [foreign, odd]) {
    logger.error(error);
    logger.error({ error }, 'failed');
    logger.error({ err: error, many: 'x'.repeat(2_000_000) }, 'failed');
  }
  expect(shown).toHaveLength(6);
  for (const line of shown.slice(0, 3)) expect(line).toMatch(/"message":"from vm".*RangeError/);
  for (const line of shown.slice(3)) expect(line).toContain(String.raw`"message":"{\"a\":1}"`);
});
