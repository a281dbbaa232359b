/**
 * The built command line as a child process, as an operator runs it: `node dist/cli/main.js ...`.
 * Children see only the environment that a test gives them and never outlive it.
 */
import { spawn } from 'node:child_process';
import { resolve as resolvePath } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { inject } from 'vitest';
import { endChild, hasExited, track } from './children.ts';

const entry = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const defaultWaitMs = 25_000;
const keptOnFailure = 40;

export interface CliOptions {
  /** Added to PATH, HOME and TMPDIR of the test process, which are all a child inherits. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Default: the test process's. */
  readonly cwd?: string;
}

interface CliExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface WaitOptions {
  readonly timeoutMs?: number;
}

export interface CliProcess {
  readonly pid: number;
  /** Lines so far, in order. */
  readonly stdout: readonly string[];
  readonly stderr: readonly string[];
  /** The first line of either stream that matches, those already seen included. */
  waitForLine(pattern: RegExp, options?: WaitOptions): Promise<string>;
  /** Both streams are complete in what it returns. */
  waitForExit(options?: WaitOptions): Promise<CliExit>;
  signal(signal: NodeJS.Signals): void;
  /** SIGKILL and wait; harmless when it has ended. */
  kill(): Promise<void>;
}

/** Starts `node dist/cli/main.js ...args`; dist/ must have been built (`npm test` does). */
export function startCli(args: readonly string[], options: CliOptions = {}): CliProcess {
  return startNode([entry, ...args], `purser ${args.join(' ')}`, options);
}

/** Starts `node ...args`; `title` names it in errors. */
export function startNode(
  args: readonly string[],
  title: string,
  options: CliOptions = {},
): CliProcess {
  const child = spawn(process.execPath, ['--enable-source-maps', ...args], {
    cwd: options.cwd ?? process.cwd(),
    env: childEnvironment(options.env ?? {}),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  track(child);
  const stdout: string[] = [];
  const stderr: string[] = [];
  const listeners = new Set<() => void>();
  const changed = () => listeners.forEach((listener) => listener());
  const collect = (lines: string[]) => (line: string) => {
    lines.push(line);
    changed();
  };
  createInterface({ input: child.stdout }).on('line', collect(stdout));
  createInterface({ input: child.stderr }).on('line', collect(stderr));
  let closed = false;
  let spawnError: Error | undefined;
  child.once('error', (error) => {
    spawnError = error;
    changed();
  });
  child.once('close', () => {
    closed = true;
    changed();
  });

  /** Runs `look` now and after every change until it returns something. */
  const until = <T>(what: string, look: () => T | undefined, options: WaitOptions = {}) =>
    new Promise<T>((resolve, reject) => {
      const timeoutMs = options.timeoutMs ?? defaultWaitMs;
      const fail = (why: string) =>
        reject(
          new Error(
            `${title}: ${why} while waiting for ${what}. Its last lines:\n` +
              [...stdout, ...stderr].slice(-keptOnFailure).join('\n'),
            { cause: spawnError },
          ),
        );
      const timer = setTimeout(() => {
        listeners.delete(check);
        fail(`${timeoutMs} ms passed`);
      }, timeoutMs);
      const check = () => {
        const found = look();
        if (found === undefined && !closed && spawnError === undefined) return;
        clearTimeout(timer);
        listeners.delete(check);
        if (found === undefined) fail(`it ended with ${child.exitCode ?? child.signalCode}`);
        else resolve(found);
      };
      listeners.add(check);
      check();
    });

  return {
    pid: child.pid ?? 0,
    stdout,
    stderr,
    waitForLine: (pattern, options) =>
      until(
        String(pattern),
        () => [...stdout, ...stderr].find((line) => line.search(pattern) >= 0),
        options,
      ),
    waitForExit: (options) =>
      until(
        'its end',
        () =>
          closed
            ? {
                code: child.exitCode,
                signal: child.signalCode,
                stdout: stdout.join('\n'),
                stderr: stderr.join('\n'),
              }
            : undefined,
        options,
      ),
    signal: (signal) => void child.kill(signal),
    kill: async () => {
      if (!hasExited(child)) await endChild(child, 'SIGKILL');
    },
  };
}

/** Runs a command to its end. */
export function runCli(
  args: readonly string[],
  options: CliOptions & WaitOptions = {},
): Promise<CliExit> {
  return startCli(args, options).waitForExit(options);
}

function childEnvironment(
  extra: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const coverageDir = inject('childCoverageDir');
  const all: Record<string, string | undefined> = {
    PATH: process.env['PATH'],
    HOME: process.env['HOME'],
    TMPDIR: process.env['TMPDIR'],
    NODE_V8_COVERAGE: coverageDir === '' ? undefined : resolvePath(coverageDir),
    ...extra,
  };
  return Object.fromEntries(
    Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}
