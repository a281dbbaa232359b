import { inspect } from 'node:util';
import { expect, test } from 'vitest';
import { SecretTexts } from '../../../src/crypto/secrets/texts.ts';

function knowing(...secrets: string[]): SecretTexts {
  const texts = new SecretTexts();
  for (const secret of secrets) texts.add(secret);
  return texts;
}

test('a secret is redacted verbatim and as encoded by JSON, a URL or base64', () => {
  const secret = 'pa"ss\nwo/rd ž';
  const texts = knowing(secret);
  const base64 = Buffer.from(secret).toString('base64');
  const written = [secret, JSON.stringify({ secret }), encodeURIComponent(secret), base64];
  for (const text of written) {
    const shown = texts.redact(`before ${text} after`);
    expect(shown).toContain('[redacted]');
    expect(shown).toMatch(/^before .* after$/s);
    expect(shown).not.toContain(text === written[1] ? 'ss\\nwo' : text);
  }
});

test('every string inside a JSON secret is redacted', () => {
  const texts = knowing(JSON.stringify({ id: 'AKIA1234', nested: [{ key: 'wJalrXUt' }] }));
  expect(texts.redact('id AKIA1234, key wJalrXUt')).toBe('id [redacted], key [redacted]');
});

test('every long part of a secret of several parts is redacted', () => {
  const profile =
    '[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key=wJalrXUtnFEMI/K7MDENG+x\nregion = eu';
  const url = 'https://user:a-long-password-of-mine@example.org/';
  expect(
    knowing(profile, url).redact(
      'AKIAIOSFODNN7EXAMPLE wJalrXUtnFEMI/K7MDENG+x a-long-password-of-mine in region eu',
    ),
  ).toBe('[redacted] [redacted] [redacted] in region eu');
});

test('a JSON string is redacted without its quotes, so that surrounding JSON stays valid', () => {
  const texts = knowing(JSON.stringify('a-text'));
  expect(texts.redact(JSON.stringify(['a-text']))).toBe('["[redacted]"]');
});

test('a secret that contains another one is redacted as a whole', () => {
  expect(knowing('abcd', 'abcdefgh').redact('abcdefgh abcd')).toBe('[redacted] [redacted]');
});

test('a secret shorter than four characters is not redacted', () => {
  expect(knowing('abc').redact('abc')).toBe('abc');
});

test('a secret that a truncated message ends with in part is redacted', () => {
  const texts = knowing('a-very-long-secret');
  expect(texts.redact('refused: a-very-lo [cut at 20]')).toBe('refused: [redacted] [cut at 20]');
  expect(texts.redact('refused: a-very-lo')).toBe('refused: a-very-lo');
});

test('values of any shape are redacted, and other types are unchanged', () => {
  const at = new Date(0);
  const value = { 'key secret-1': ['secret-1', { deep: 'x secret-1' }], n: 1, none: null, at };
  expect(knowing('secret-1').redactValue(value)).toEqual({
    'key [redacted]': ['[redacted]', { deep: 'x [redacted]' }],
    n: 1,
    none: null,
    at,
  });
});

test('a secret with quotes, backslashes or line breaks is redacted in console.log of an object', () => {
  const key = `-----BEGIN KEY-----\n${'MIIEvQIBADANBgkq'.repeat(4)}\n${'hkiG9w0BAQEFAASC'.repeat(4)}\n`;
  const texts = knowing(key, 'a\\b"c\'d`e\u001bf');
  const shown = texts.redact(inspect({ deep: { key, other: 'a\\b"c\'d`e\u001bf' } }));
  expect(shown).not.toMatch(/MIIEvQ|hkiG9w|b"c/);
});

test('a secret is redacted in a query, a form and the base64 of HTTP Basic', () => {
  const secret = "pa/ss w'or(d)?";
  const texts = knowing(secret);
  const url = new URL('https://example.org/');
  url.searchParams.set('token', secret);
  expect(texts.redact(url.href)).toBe('https://example.org/?token=[redacted]');
  expect(texts.redact(new URL(`https://example.org/${encodeURI(secret)}`).href)).toBe(
    'https://example.org/[redacted]',
  );
  for (const user of ['u', 'us', 'use', '']) {
    const login = Buffer.from(`${user}:${secret}:x`).toString('base64');
    expect(texts.redact(`Basic ${login}`)).toMatch(/^Basic [\w=+/]{0,6}\[redacted\][\w=+/]{0,6}$/);
  }
});

test('a secret number is redacted as text and as a number', () => {
  const value = { pin: 48_151_623, count: 4, text: 'pin 48151623' };
  const without = { pin: '[redacted]', count: 4, text: 'pin [redacted]' };
  expect(knowing('48151623').redactValue(value)).toEqual(without);
  expect(knowing('{"pin":48151623,"port":5432}').redactValue(value)).toEqual(without);
  expect(knowing('{"pin":48151623,"port":5432}').redact('port 5432')).toBe('port 5432');
});

test('a secret that is null or a boolean redacts no words', () => {
  expect(knowing('null', 'true', 'false').redact('null true false')).toBe('null true false');
});

test('a partial secret is redacted at every place where a text was truncated', () => {
  const texts = knowing('a-very-long-secret');
  expect(texts.redact('Error: a-very-lo [cut at 16]\n at run [cut at 99]')).toBe(
    'Error: [redacted] [cut at 16]\n at run [cut at 99]',
  );
});
