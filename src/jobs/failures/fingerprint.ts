/**
 * What failures of the same cause have in common: error code, shape of the message and top frame of the stack. Pure.
 * `purser.fingerprint_of` adds the job type. A change of what is compared is a new version, whose failures form groups of
 * their own.
 */
import { createHash } from 'node:crypto';

export interface FailureTexts {
  readonly code: string;
  readonly message: string;
  /** Unchecked: of an executor. */
  readonly stack?: unknown;
}

const version = 1;
const maxMessageLength = 1_000;
const hashLength = 16;

/** `version-hash`, e.g. `1-9f86d081884c7d65`. */
export function causeOf({ code, message, stack }: FailureTexts): string {
  const text = [code, shapeOf(message), frameOf(stack)].join('\n');
  return `${version}-${createHash('sha256').update(text).digest('hex').slice(0, hashLength)}`;
}

const quoted =
  /"[^"\n]*"|`[^`\n]*`|\u201c[^\u201d\n]*\u201d|\u201e[^\u201c\n]*\u201c|\u00ab[^\u00bb\n]*\u00bb/g;
/** Not the apostrophe of a word. */
const singleQuoted = /(?<![\p{L}\p{N}])'[^'\n]*'(?![\p{L}\p{N}])/gu;
const word = /[\p{L}\p{N}_.:@%+-]+/gu;
const isVariable = /[\p{N}@]/u;

/** The message in lower case without quoted parts, and without words that hold a digit or an `@`: numbers, ids, times, addresses. */
export function shapeOf(message: string): string {
  return message
    .slice(0, maxMessageLength)
    .replace(quoted, '?')
    .replace(singleQuoted, '?')
    .replace(word, (text) => (isVariable.test(text) ? '#' : text))
    .replace(/[#?](?:[\s,;/]*[#?])+/g, '#')
    .replace(/\s+/g, ' ')
    .trim()
    .toLowerCase();
}

const maxStackLength = 20_000;
const maxStackLines = 60;
const frameLine = /^\s+at (.{1,500})$/;
const ofOthers = /\(?node:|[\\/]node_modules[\\/]|^(?:async )?Promise\.|<anonymous>\)?$/;

/**
 * Function and file of the first frame that is neither Node's nor a package's, else of the first frame; without folders,
 * lines and columns, which differ between hosts and releases. Empty where there is none.
 */
export function frameOf(stack: unknown): string {
  if (typeof stack !== 'string') return '';
  const frames = stack
    .slice(0, maxStackLength)
    .split('\n', maxStackLines)
    .map((line) => frameLine.exec(line)?.[1])
    .filter((frame) => frame !== undefined);
  const frame = frames.find((text) => !ofOthers.test(text)) ?? frames[0] ?? '';
  const named = /^(?:async )?(.*?) ?\(([^()]*)\)$/.exec(frame);
  const [name, place] = named === null ? ['', frame] : [named[1] ?? '', named[2] ?? ''];
  const file = place.split(/[\\/]/).at(-1) ?? '';
  return `${name} ${file.replace(/[?:].*$/, '')}`.trim();
}
