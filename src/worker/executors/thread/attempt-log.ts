/**
 * What an attempt says while it runs: its log lines go to stderr like the worker's own, and with its
 * progress, a few times a second, to the supervisor, which stores them.
 */
import { multistream } from 'pino';
import type { DestinationStream, Level } from 'pino';
import { SecretTexts } from '../../../crypto/secrets/texts.ts';
import { createLogger } from '../../../log.ts';
import type { Logger } from '../../../log.ts';
import type { LogLine } from '../protocol.ts';
import { storableText } from '../../store-value.ts';

export interface Report {
  readonly progress: { readonly done: number; readonly note: string | null } | undefined;
  readonly lines: readonly LogLine[];
  /** Transactions that row-level security refused. */
  readonly refusals: number;
  /** Encrypted values that did not open. */
  readonly decryptionFailures: number;
}

const reportEveryMs = 200;
const maxLines = 500;
const maxLineLength = 2_000;
const maxNoteLength = 500;
const stored: Level = 'info';
const levels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;
const isTime = /^\d{4}-\d\d-\d\dT[\d:.]{5,12}Z$/;

export class AttemptLog {
  readonly #tell: (report: Report) => void;
  readonly #secrets: SecretTexts;
  #progress: Report['progress'];
  #lines: LogLine[] = [];
  #count = 0;
  #refusals = 0;
  #decryptionFailures = 0;
  #timer: NodeJS.Timeout | undefined;

  /** What it says goes without these secrets; they are taken out before anything is cut. */
  constructor(tell: (report: Report) => void, secrets = new SecretTexts()) {
    this.#tell = tell;
    this.#secrets = secrets;
  }

  /** A logger whose lines of level info and above are stored too, whatever LOG_LEVEL lets through to stderr. */
  logger(options: {
    readonly level: string;
    readonly stderr: DestinationStream;
    readonly about: object;
  }): Logger {
    const clean = (line: string): string => this.#clean(line, options.about);
    const capture = { write: (line: string) => this.#capture(clean(line)) };
    const stderr = { write: (line: string) => options.stderr.write(clean(line)) };
    const shown = levels.find((level) => level === options.level);
    const streams = [
      ...(shown === undefined ? [] : [{ level: shown, stream: stderr }]),
      { level: stored, stream: capture },
    ];
    const least = shown !== undefined && levels.indexOf(shown) < 2 ? shown : stored;
    return createLogger({
      level: least,
      role: 'worker',
      destination: multistream(streams),
    }).child(options.about);
  }

  progress(done: number, note: string | undefined): void {
    const fraction = Number.isFinite(done) ? Math.min(1, Math.max(0, done)) : 0;
    this.#progress = {
      done: fraction,
      note: note === undefined ? null : storableText(this.#secrets.redact(note), maxNoteLength),
    };
    this.#soon();
  }

  /** Row-level security refused a transaction; who swallows the error does not hide it. */
  refused(): void {
    this.#refusals += 1;
    this.#soon();
  }

  /** An encrypted value did not open, whatever the handler makes of that. */
  decryptionFailed(): void {
    this.#decryptionFailures += 1;
    this.#soon();
  }

  /** Tells what was not told yet. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const report = {
      progress: this.#progress,
      lines: this.#lines,
      refusals: this.#refusals,
      decryptionFailures: this.#decryptionFailures,
    };
    const things = report.lines.length + report.refusals + report.decryptionFailures;
    if (report.progress === undefined && things === 0) return;
    this.#progress = undefined;
    this.#lines = [];
    this.#refusals = 0;
    this.#decryptionFailures = 0;
    this.#tell(report);
  }

  /**
   * By its values, for a secret may have quotes and braces in it. What lines are found by stays, whatever a
   * secret may spell.
   */
  #clean(line: string, about: object): string {
    if (this.#secrets.empty) return line;
    const given: Readonly<Record<string, unknown>> = { ...asObject(JSON.parse(line)) };
    const level = levels.find((word) => word === given['level']);
    const at = isTime.test(String(given['at'])) ? given['at'] : undefined;
    const kept = { level, at, ...about };
    return `${JSON.stringify({ ...this.#secrets.redactValue(given), ...definedOf(kept) })}\n`;
  }

  #capture(line: string): void {
    this.#count += 1;
    // One more than is kept, so that whoever stores them sees that there were more.
    if (this.#count > maxLines + 1) return;
    this.#lines.push(lineOf(line));
    this.#soon();
  }

  #soon(): void {
    this.#timer ??= setTimeout(() => this.flush(), reportEveryMs);
  }
}

/** What every line of a job carries, or what stands in columns of its own. */
const known = new Set(['level', 'at', 'event', 'role', 'jobId', 'tenantId', 'jobType']);

/** A line of pino as it is shown: the event, then what it carries besides. */
function lineOf(line: string): LogLine {
  const parsed: Record<string, unknown> = { ...asObject(JSON.parse(line)) };
  const { level, at, event } = parsed;
  const rest = Object.entries(parsed).filter(([key]) => !known.has(key));
  const facts = rest.length === 0 ? '' : ` ${JSON.stringify(Object.fromEntries(rest))}`;
  const words = typeof event === 'string' ? event : '';
  return {
    at: String(at),
    level: String(level),
    text: storableText(`${words}${facts}`.trim(), maxLineLength),
  };
}

const definedOf = (object: object): object =>
  Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));

const asObject = (value: unknown): object =>
  value !== null && typeof value === 'object' ? value : {};
