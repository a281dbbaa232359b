/** Output of the CLI. */
import { spawnSync } from 'node:child_process';
import { existsSync, openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { terminalSafe } from '../../../src/cli/terminal/output.ts';
import { redactUrls } from '../../../src/log.ts';

it('escapes control characters and direction marks in a way that JSON can parse', () => {
  const hostile = 'a\u001b[31mb\u009b31mc\u202ed\r';
  expect(terminalSafe(hostile)).toBe('a\\u001b[31mb\\u009b31mc\\u202ed\\u000d');
  const json = JSON.stringify({ text: hostile });
  expect(JSON.parse(terminalSafe(json))).toEqual({ text: hostile });
  expect(terminalSafe('plain \u{1f389} ü\n\ttext')).toBe('plain \u{1f389} ü\n\ttext');
});

it('redacts logins in URLs, also with an @ in the password or a password parameter', () => {
  expect(redactUrls('at postgres://user:pa@ss@host:5432/db failed')).toBe(
    'at postgres://[redacted]@host:5432/db failed',
  );
  expect(redactUrls('postgres://host/db?user=u&password=secret&x=1')).toBe(
    'postgres://host/db?user=u&password=[redacted]&x=1',
  );
  expect(redactUrls('see http://127.0.0.1:3000/ and mail@host')).toBe(
    'see http://127.0.0.1:3000/ and mail@host',
  );
});

it.skipIf(!existsSync('/dev/full'))('prints one line and exits 1 when the disk is full', () => {
  const entry = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url));
  const { status, stderr } = spawnSync(process.execPath, [entry, 'keys', 'generate-salt'], {
    stdio: ['ignore', openSync('/dev/full', 'w'), 'pipe'],
    encoding: 'utf8',
  });
  expect(stderr).toMatch(/^purser: cannot write the output: ENOSPC[^\n]*\n$/);
  expect(status).toBe(1);
});
