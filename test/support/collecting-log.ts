/** A logger whose lines a test can read. */
import { createLogger } from '../../src/log.ts';
import type { Logger } from '../../src/log.ts';

export interface LogLine {
  readonly event: string;
  readonly level: string;
  readonly [field: string]: unknown;
}

export interface CollectingLog {
  /** So far, in order. */
  readonly lines: readonly LogLine[];
  readonly log: Logger;
}

export function collectingLog(): CollectingLog {
  const lines: LogLine[] = [];
  const destination = { write: (line: string) => void lines.push(JSON.parse(line)) };
  return { lines, log: createLogger({ level: 'debug', role: 'test', destination }) };
}
