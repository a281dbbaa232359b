/**
 * A command of the CLI: its words, its options and its function. Help and parser both use this definition, so
 * they cannot differ.
 */
import type { Config } from '../../config.ts';

export interface OptionSpec {
  /** Name of the value in help (`T`, `FILE`); undefined for a flag. */
  readonly value?: string;
  readonly help: string;
  readonly required?: boolean;
  /** May be given more than once; read by `values`. */
  readonly repeats?: boolean;
}

export interface PositionalSpec {
  readonly name: string;
  readonly help: string;
  readonly required: boolean;
}

export interface Command {
  /** Words after `purser`, e.g. `jobs list`. */
  readonly path: string;
  readonly summary: string;
  readonly positionals?: readonly PositionalSpec[];
  readonly options?: Readonly<Record<string, OptionSpec>>;
  /** Runs the command and returns the exit code. */
  readonly run: (invocation: Invocation) => Promise<number>;
}

export interface Invocation {
  readonly positionals: readonly string[];
  /** Value of an option, or undefined. */
  readonly value: (name: string) => string | undefined;
  /** All values of an option that may be repeated. */
  readonly values: (name: string) => readonly string[];
  /** Value of an option that the command declares as required. */
  readonly required: (name: string) => string;
  readonly flag: (name: string) => boolean;
  /** Reads the environment; throws `driver_not_patched`, or `invalid_configuration` with every fault. */
  readonly config: () => Config;
  /** stdin. Secrets are read from here, never from argv. */
  readonly input: () => AsyncIterable<Uint8Array>;
  /** Writes a line to stdout. */
  readonly print: (line: string) => void;
  /** Writes a line to stderr: progress and notes, never results. */
  readonly note: (line: string) => void;
  /** Whether stderr is a terminal that can redraw a line. */
  readonly interactive: boolean;
}

export const jsonOption = { help: 'print JSON' } satisfies OptionSpec;
