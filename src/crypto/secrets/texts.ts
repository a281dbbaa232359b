/**
 * Redacts known secrets in text: verbatim, as JSON, console.log, URLs and base64 encode them, and truncated where a
 * text was truncated. Secrets shorter than four characters are not redacted: they would match ordinary words.
 */
import { inspect } from 'node:util';
import { readableText } from '../../bounded-text.ts';

const shown = '[redacted]';
const minLength = 4;
/** Minimum length of a truncated secret at the end of a text. */
const minCutLength = 6;
/** Minimum length of one line of a secret, or of a part of its base64; shorter ones may be ordinary words. */
const minPartLength = 8;
/** Minimum length of a word inside a secret; shorter ones are more likely names than keys. */
const minWordLength = 16;
/** Minimum length of a number inside a secret. */
const minNumberLength = 6;
/** Maximum number of lines, and of words, per secret. */
const maxParts = 200;
const maxDepth = 100;
const maxEscapeLevels = 16;
const escapeSequence = /\\(u[0-9a-f]{4}|.)/gis;
const controlEscapes: Readonly<Record<string, string>> = {
  n: '\n',
  r: '\r',
  t: '\t',
  b: '\b',
  f: '\f',
};

function unescaped(_sequence: string, escaped: string): string {
  if (escaped.length > 1) return String.fromCharCode(Number.parseInt(escaped.slice(1), 16));
  return controlEscapes[escaped] ?? escaped;
}

export class SecretTexts {
  /** undefined: none. Most attempts have none. */
  #known: Set<string> | undefined;
  #sorted: readonly string[] = [];

  get empty(): boolean {
    return this.#known === undefined;
  }

  /** Longest first, so that a secret that contains another one is redacted as a whole. */
  get #forms(): readonly string[] {
    if (this.#known !== undefined && this.#sorted.length < this.#known.size) {
      this.#sorted = [...this.#known].toSorted((a, b) => b.length - a.length);
    }
    return this.#sorted;
  }

  /** Adds a secret; of JSON also every string inside it, because those appear in messages. */
  add(secret: string): void {
    // A quoted text is a JSON string: the quotes are not part of the secret.
    const own = /^(?:".*"|true|false|null)$/s.test(secret) ? [] : [secret];
    for (const text of [...own, ...textsInside(secret)]) {
      for (const form of formsOf(text)) {
        if (form.length >= minLength) (this.#known ??= new Set()).add(form);
      }
    }
  }

  /** The text with secrets redacted; all of it where a secret is escaped several times (JSON inside JSON). */
  redact(text: string): string {
    let rest = readableText(text);
    for (const form of this.#forms) rest = rest.replaceAll(form, shown);
    return this.#hasEscaped(rest) ? shown : this.#withoutCutEnds(rest);
  }

  #hasEscaped(text: string): boolean {
    let rest = text;
    for (let level = 0; level < maxEscapeLevels && rest.includes('\\'); level += 1) {
      rest = rest.replaceAll(escapeSequence, unescaped);
      const unescapedText = rest;
      if (this.#forms.some((form) => unescapedText.includes(form))) return true;
    }
    return false;
  }

  /** A JSON value with secrets redacted, keys included. */
  redactValue<T>(value: T): T {
    // The shape is kept; only a number that is a secret becomes a string.
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion
    return this.empty ? value : (this.#redacted(value, 0) as T);
  }

  #redacted(value: unknown, depth: number): unknown {
    if (typeof value === 'string') return this.redact(value);
    if (typeof value === 'number') return this.#known?.has(String(value)) === true ? shown : value;
    if (value === null || typeof value !== 'object' || value instanceof Date) return value;
    if (depth >= maxDepth) return shown;
    if (Array.isArray(value)) return value.map((item: unknown) => this.#redacted(item, depth + 1));
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [
        this.redact(key),
        this.#redacted(item, depth + 1),
      ]),
    );
  }

  /** Messages are truncated, possibly in the middle of a secret. */
  #withoutCutEnds(text: string): string {
    const [first = '', ...rest] = text.split(/( \[cut at \d+\])/);
    if (rest.length === 0) return text;
    const parts = [first, ...rest];
    return parts
      .map((part, index) => (index + 1 in parts && index % 2 === 0 ? this.#withoutEnd(part) : part))
      .join('');
  }

  #withoutEnd(body: string): string {
    for (const form of this.#forms) {
      for (
        let length = Math.min(form.length - 1, body.length);
        length >= minCutLength;
        length -= 1
      ) {
        if (body.endsWith(form.slice(0, length))) {
          return `${body.slice(0, body.length - length)}${shown}`;
        }
      }
    }
    return body;
  }
}

function formsOf(text: string): string[] {
  if (!text.isWellFormed()) return [text];
  const bytes = Buffer.from(text, 'utf8');
  return [
    ...printed(text),
    ...[...linesOf(text), ...wordsOf(text)].flatMap(printed),
    encodeURIComponent(text),
    encodeURI(text),
    new URLSearchParams([['', text]]).toString().slice(1),
    bytes.toString('base64'),
    bytes.toString('base64url'),
    ...insideBase64(bytes),
  ];
}

/** Verbatim, and as quoted by JSON and console.log. */
function printed(text: string): string[] {
  const inspected = inspect(text, { breakLength: Infinity, maxStringLength: Infinity });
  return [text, JSON.stringify(text).slice(1, -1), inspected.slice(1, -1)];
}

/** console.log of an object prints a multi-line text, such as a private key, line by line. */
function linesOf(text: string): string[] {
  const lines = text.split(/\r?\n/);
  if (lines.length === 1) return [];
  return lines.filter((line) => line.trim().length >= minPartLength).slice(0, maxParts);
}

/** Keys in a text that is not JSON: `name = value` in lines, `id:key`, `https://user:password@host`. */
function wordsOf(text: string): string[] {
  if (textsInside(text).length > 0) return [];
  const words = text.split(/[\s=:,;@"']+/).filter((word) => word.length >= minWordLength);
  return words.slice(0, maxParts);
}

/**
 * The base64 of the bytes inside a longer text, such as `user:password` of HTTP Basic: for each offset in a group of
 * three bytes, without the characters that also encode neighbouring bytes.
 */
function insideBase64(bytes: Buffer): string[] {
  return [0, 1, 2].flatMap((before) => {
    const all = Buffer.concat([Buffer.alloc(before), bytes]);
    const from = Math.ceil((before * 8) / 6);
    const to = Math.floor((all.length * 8) / 6);
    if (to - from < minPartLength) return [];
    return (['base64', 'base64url'] as const).map((how) => all.toString(how).slice(from, to));
  });
}

function textsInside(secret: string): string[] {
  if (!/^\s*[[{"]/.test(secret)) return [];
  try {
    return leavesOf(JSON.parse(secret), 0);
  } catch {
    return [];
  }
}

function leavesOf(value: unknown, depth: number): string[] {
  if (typeof value === 'string') return [value];
  if (typeof value === 'number') {
    return String(value).length < minNumberLength ? [] : [String(value)];
  }
  if (value === null || typeof value !== 'object' || depth >= maxDepth) return [];
  return Object.values(value).flatMap((item) => leavesOf(item, depth + 1));
}
