/**
 * The log lines and progress of one attempt, without its secrets: lines go to stderr like the worker's own, and both go to the supervisor,
 * which stores them, a few times a second.
 */
import { multistream } from 'pino';
import type { DestinationStream, Level } from 'pino';
import { SecretTexts } from '../../../crypto/secrets/texts.ts';
import { PurserError } from '../../../errors.ts';
import { createLogger } from '../../../log.ts';
import type { Logger } from '../../../log.ts';
import type { LogLine } from '../protocol.ts';
import { storableText } from '../../store-value.ts';
import { boundedLogValue, withBoundedBindings } from './bounded-log.ts';

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
  readonly #send: (report: Report) => void;
  readonly #secrets: SecretTexts;
  #progress: Report['progress'];
  #lines: LogLine[] = [];
  #count = 0;
  #refusals = 0;
  #decryptionFailures = 0;
  #timer: NodeJS.Timeout | undefined;

  /** `secrets` are removed from everything before it is cut. */
  constructor(send: (report: Report) => void, secrets = new SecretTexts()) {
    this.#send = send;
    this.#secrets = secrets;
  }

  /** A logger whose lines of level info and above are stored too, whatever LOG_LEVEL lets through to stderr. */
  logger(options: {
    readonly level: string;
    readonly stderr: DestinationStream;
    readonly about: object;
  }): Logger {
    const redactLine = (line: string): string => this.#redactLine(line, options.about);
    const capture = { write: (line: string) => this.#capture(redactLine(line)) };
    const stderr = { write: (line: string) => options.stderr.write(redactLine(line)) };
    const shown = levels.find((level) => level === options.level);
    const streams = [
      ...(shown === undefined ? [] : [{ level: shown, stream: stderr }]),
      { level: stored, stream: capture },
    ];
    const lowest = shown !== undefined && levels.indexOf(shown) < 2 ? shown : stored;
    const logger = createLogger({
      level: lowest,
      role: 'worker',
      destination: multistream(streams),
      bound: boundedLogValue,
    });
    return withBoundedBindings(logger.child(options.about));
  }

  progress(done: number, note: string | undefined): void {
    const given: unknown = note;
    if (given !== undefined && typeof given !== 'string') {
      throw new PurserError(
        'invalid_argument',
        `ctx.progress: the note must be a string, not ${given === null ? 'null' : typeof given}`,
        { details: { class: 'fatal' } },
      );
    }
    const fraction = Number.isFinite(done) ? Math.min(1, Math.max(0, done)) : 0;
    this.#progress = {
      done: fraction,
      note: note === undefined ? null : storableText(this.#secrets.redact(note), maxNoteLength),
    };
    this.#flushSoon();
  }

  /** Row-level security refused a transaction; counted even if the handler catches the error. */
  refused(): void {
    this.#refusals += 1;
    this.#flushSoon();
  }

  /** An encrypted value did not open; counted even if the handler catches the error. */
  decryptionFailed(): void {
    this.#decryptionFailures += 1;
    this.#flushSoon();
  }

  /** Sends everything that was not sent yet. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const report = {
      progress: this.#progress,
      lines: this.#lines,
      refusals: this.#refusals,
      decryptionFailures: this.#decryptionFailures,
    };
    const count = report.lines.length + report.refusals + report.decryptionFailures;
    if (report.progress === undefined && count === 0) return;
    this.#progress = undefined;
    this.#lines = [];
    this.#refusals = 0;
    this.#decryptionFailures = 0;
    this.#send(report);
  }

  /**
   * Redacts the values, not the text, as a secret can contain quotes and braces. The fields that lines are found by
   * stay, even if a secret has the same text.
   */
  #redactLine(line: string, about: object): string {
    if (this.#secrets.empty) return line;
    const given: Readonly<Record<string, unknown>> = { ...asObject(JSON.parse(line)) };
    const level = levels.find((word) => word === given['level']);
    const at = isTime.test(String(given['at'])) ? given['at'] : undefined;
    const kept = { level, at, ...about };
    return `${JSON.stringify({ ...this.#secrets.redactValue(given), ...definedOf(kept) })}\n`;
  }

  #capture(line: string): void {
    this.#count += 1;
    // One more than is stored, so that the reader of the log is told that lines are missing.
    if (this.#count > maxLines + 1) return;
    this.#lines.push(lineOf(line));
    this.#flushSoon();
  }

  #flushSoon(): void {
    this.#timer ??= setTimeout(() => this.flush(), reportEveryMs);
  }
}

/** Fields that are the same on every line of a job, or have a column of their own. */
const omittedFields = new Set(['level', 'at', 'event', 'role', 'jobId', 'tenantId', 'jobType']);

/** A line of pino as it is shown: the event, then its other fields. */
function lineOf(line: string): LogLine {
  const parsed: Record<string, unknown> = { ...asObject(JSON.parse(line)) };
  const { level, at, event } = parsed;
  const rest = Object.entries(parsed).filter(([key]) => !omittedFields.has(key));
  const facts = rest.length === 0 ? '' : ` ${JSON.stringify(Object.fromEntries(rest))}`;
  const name = typeof event === 'string' ? event : '';
  return {
    at: String(at),
    level: String(level),
    text: storableText(`${name}${facts}`.trim(), maxLineLength),
  };
}

const definedOf = (object: object): object =>
  Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));

const asObject = (value: unknown): object =>
  value !== null && typeof value === 'object' ? value : {};
