/** Names as they should not be, each with why, and names that users have. */
import type { NameKind } from '../../../src/names.ts';

export const badForms: readonly (readonly [why: string, name: string])[] = [
  ['empty', ''],
  ['only a blank', ' '],
  ['a blank before', ' acme'],
  ['a blank after', 'acme '],
  ['an ideographic blank after', 'acme\u3000'],
  ['a no-break space', 'acme\u00a0inc'],
  ['a tab', 'acme\tinc'],
  ['a line feed', 'acme\n'],
  ['an escape sequence', 'acme\u001b[31m'],
  ['a delete character', 'acme\u007f'],
  ['a C1 control character', 'acme\u009b'],
  ['a NUL', 'acme\u0000'],
  ['a zero-width space', 'ac\u200bme'],
  ['a zero-width joiner', 'ac\u200dme'],
  ['a soft hyphen', 'ac\u00adme'],
  ['a byte order mark', '\ufeffacme'],
  ['a change of direction', 'acme\u202ecni'],
  ['a variation selector', 'acme\ufe0f'],
  ['a Hangul filler', 'ac\u3164me'],
  ['a tag character', 'acme\u{e0041}'],
  ['a line separator', 'ac\u2028me'],
  ['half of a surrogate pair', 'acme\ud800'],
  ['bytes that were not UTF-8', 'caf\ufffd'],
  ['not NFC', 'cafe\u0301'],
  ['too long', 'x'.repeat(501)],
];

/** Forms that the driver or the operating system cannot pass on as they are. */
export const unpassable = /\0|\ud800/;

const patterned: Partial<Record<NameKind, readonly string[]>> = {
  job_type: ['a', 'send_report', 'finops2', 'x'.repeat(63)],
  cohort: ['high_value', 'active', 'dormant'],
};

export const goodForms = (kind: NameKind): readonly string[] =>
  patterned[kind] ?? [
    '123456789012',
    'ops@example.com',
    'EXAMPLE\\alice',
    'a.b/c:d-e_f',
    '0b8cf3a4-4d2e-4b5a-9a56-6b0c1f3f2c11',
    'meta-llama/Llama-3.1-8B-Instruct:free',
    'acme inc',
    "O'Neil; drop table tenants",
    'M\u00fcller & S\u00f6hne',
    '\u0414\u043e\u043c',
    '\u682a\u5f0f\u4f1a\u793e\u3000\u5c71\u7530',
    '\u0639\u0631\u0628\u064a',
    '\u{1f6a2}',
    'x'.repeat(200),
  ];
