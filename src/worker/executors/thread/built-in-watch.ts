/**
 * When the built-ins of a thread are checked, and which jobs may have changed them. The baseline is what is there when
 * the first job starts: patches that the handlers' module makes while it loads are the deployer's. A check follows the
 * ends of jobs and precedes their starts, but takes at most half a percent of the time.
 */
// Not the globals, which a handler can replace.
import { performance } from 'node:perf_hooks';
import { setTimeout } from 'node:timers';
import { PurserError } from '../../../errors.ts';
import type { AttemptEnd } from '../../../jobs/attempts.ts';
import { handedBack } from '../../classify.ts';
import { packError } from '../packed-errors.ts';
import { BuiltIns } from './built-ins.ts';

const pausePerCost = 200;
const maxPauseMs = 100;

export interface BuiltInChange {
  /** As code would name it: Array.prototype.map. */
  readonly property: string;
  /** Types of the jobs that ran since the last check. */
  readonly jobTypes: readonly string[];
}

export class BuiltInWatch {
  readonly #builtIns = new BuiltIns();
  readonly #onChange: (change: BuiltInChange) => void;
  readonly #running = new Map<string, string>();
  #ran = new Set<string>();
  #started = 0;
  #changed = false;
  #nextAtMs = 0;
  #timer: NodeJS.Timeout | undefined;

  /** Create it before handlers are loaded. `onChange` is called once. */
  constructor(onChange: (change: BuiltInChange) => void) {
    this.#onChange = onChange;
  }

  /** An attempt is about to start. false: built-ins have changed, so it must not start here. */
  mayStart(token: string, jobType: string): boolean {
    if (this.#started === 0) this.#builtIns.accept();
    else if (performance.now() >= this.#nextAtMs) this.check();
    if (this.#changed) return false;
    this.#started += 1;
    this.#running.set(token, jobType);
    this.#ran.add(jobType);
    return true;
  }

  ended(token: string): void {
    this.#running.delete(token);
    if (this.#timer !== undefined || this.#changed) return;
    const check = (): void => {
      this.#timer = undefined;
      this.check();
    };
    this.#timer = setTimeout(check, Math.max(0, this.#nextAtMs - performance.now()));
    this.#timer.unref();
  }

  /** A failure may be due to what another job changed, which is checked now: the job runs alone next, and is judged there. */
  judge(end: AttemptEnd): AttemptEnd {
    const failed = end.toState === 'failed' || end.toState === 'dead_letter';
    if (!failed || !end.countsAttempt || this.#started === 1) return end;
    this.check();
    if (!this.#changed) return end;
    const reason = 'a handler changed built-ins of its thread';
    return { ...handedBack(reason, 0), suspect: true };
  }

  check(): void {
    if (this.#changed) return;
    const startedAtMs = performance.now();
    const property = this.#builtIns.firstChange();
    const endedAtMs = performance.now();
    this.#nextAtMs = endedAtMs + Math.min(maxPauseMs, (endedAtMs - startedAtMs) * pausePerCost);
    const ran = this.#ran;
    this.#ran = new Set(this.#running.values());
    if (property === undefined) return;
    this.#changed = true;
    this.#onChange({ property, jobTypes: [...ran] });
  }
}

/** Packed before any handler ran. */
export const builtInsBroken = packError(
  new PurserError(
    'built_ins_broken',
    'the attempt could not be ended where it ran: built-ins of the thread (Object, Array, JSON, ...) do not work ' +
      'any more; do not replace them while a job runs',
  ),
);
