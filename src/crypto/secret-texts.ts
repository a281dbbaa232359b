/**
 * Takes known secrets out of text: as they are, as JSON, a URL or base64 would write them, and cut off at the
 * end of a text that was cut. What is shorter than four characters stays: it would take ordinary words with it.
 */

const shown = '[redacted]';
const minLength = 4;
/** Of a secret that a text breaks off in, so much has to be there to be recognised. */
const minCutLength = 6;
const maxDepth = 100;

export class SecretTexts {
  /** Longest first, so that a secret that contains another one goes whole. */
  #forms: readonly string[] = [];

  get empty(): boolean {
    return this.#forms.length === 0;
  }

  /** Remembers a secret; of JSON also every text inside it, for it is those that get into messages. */
  add(secret: string): void {
    const forms = new Set(this.#forms);
    // A text in quotes is JSON's way to write it, and the quotes are no part of the secret.
    const own = /^".*"$/s.test(secret) ? [] : [secret];
    for (const text of [...own, ...textsInside(secret)]) {
      for (const form of formsOf(text)) if (form.length >= minLength) forms.add(form);
    }
    this.#forms = [...forms].toSorted((a, b) => b.length - a.length);
  }

  /** The text without the secrets. */
  redact(text: string): string {
    let rest = text;
    for (const form of this.#forms) rest = rest.replaceAll(form, shown);
    return this.#withoutCutEnd(rest);
  }

  /** Any JSON value without the secrets, keys included. */
  redactValue<T>(value: T): T {
    // Strings become strings and objects objects: the shape stays what it was.
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion
    return this.empty ? value : (this.#redacted(value, 0) as T);
  }

  #redacted(value: unknown, depth: number): unknown {
    if (typeof value === 'string') return this.redact(value);
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

  /** Messages are cut at a length, perhaps in the middle of a secret. */
  #withoutCutEnd(text: string): string {
    const note = / \[cut at \d+\]$/.exec(text)?.[0];
    if (note === undefined) return text;
    const body = text.slice(0, -note.length);
    for (const form of this.#forms) {
      for (
        let length = Math.min(form.length - 1, body.length);
        length >= minCutLength;
        length -= 1
      ) {
        if (body.endsWith(form.slice(0, length))) {
          return `${body.slice(0, body.length - length)}${shown}${note}`;
        }
      }
    }
    return text;
  }
}

function formsOf(text: string): string[] {
  if (!text.isWellFormed()) return [text];
  const bytes = Buffer.from(text, 'utf8');
  return [
    text,
    JSON.stringify(text).slice(1, -1),
    encodeURIComponent(text),
    bytes.toString('base64'),
    bytes.toString('base64url'),
  ];
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
  if (value === null || typeof value !== 'object' || depth >= maxDepth) return [];
  return Object.values(value).flatMap((item) => leavesOf(item, depth + 1));
}
