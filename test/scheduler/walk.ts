/** A walk of operations against locks: each operation has a limit of its own, and a walk with faults ends early. */
import { setTimeout as sleep } from 'node:timers/promises';

/** `result` if it comes within the limit; otherwise throws naming the operation. */
export async function within<T>(what: string, limitMs: number, result: Promise<T>): Promise<T> {
  const ended = new AbortController();
  const late = sleep(limitMs, undefined, { signal: ended.signal, ref: false }).then(() => {
    throw new Error(`${what} waits for longer than ${limitMs} ms`);
  });
  late.catch(() => {});
  try {
    return await Promise.race([result, late]);
  } finally {
    ended.abort();
  }
}

/** More would only repeat the finding, each after its limit. */
const enoughFailures = 5;

export interface Walk {
  /** Runs an operation that has to return true; a failure is kept by its name. */
  readonly step: (name: string, limitMs: number, run: () => Promise<boolean>) => Promise<void>;
  readonly failures: readonly string[];
  readonly runs: () => number;
  readonly hasEnough: () => boolean;
}

export function startWalk(): Walk {
  const failures: string[] = [];
  let runs = 0;
  const fail = (failure: string): void => {
    failures.push(failure);
    // At once: a walk takes minutes.
    process.stderr.write(`  ${failure}\n`);
  };
  return {
    failures,
    runs: () => runs,
    hasEnough: () => failures.length >= enoughFailures,
    step: async (name, limitMs, run) => {
      runs += 1;
      try {
        if (!(await within('it', limitMs, run()))) fail(`${name}: was not done`);
      } catch (error) {
        fail(`${name}: ${String(error)}`);
      }
    },
  };
}
