/**
 * What the supervisor and an executor say to each other, over a thread's or a process's border: plain data
 * that can be cloned, and nothing that only one side understands.
 */
import type { FinopsJobType } from '../../builtins.ts';
import type { KeyringSource } from '../../crypto/key-source.ts';
import type { TenantAccess } from '../../db/tenant-pool.ts';
import { exitCodes, PurserError } from '../../errors.ts';
import type { Backoff, Isolation } from '../../handlers/define.ts';
import type { AttemptEnd, BegunAttempt } from '../../jobs/attempts.ts';
import type { JobType } from '../../jobs/registration.ts';
import type { LlmCall, LlmReply } from '../../llm/llm.ts';
import { packError } from './packed-errors.ts';
import type { PackedError } from './packed-errors.ts';

/** What the supervisor has to know of a handler: all but its code. */
export interface JobTypeFacts extends JobType {
  readonly builtin: boolean;
  readonly concurrency: number | undefined;
  readonly isolation: Isolation;
  readonly backoff: Backoff;
}

/** What an executor is started with. */
export interface ExecutorSetup {
  readonly handlersModule: string | undefined;
  /** Built-in FinOps job types to load; default all. */
  readonly finops?: readonly FinopsJobType[];
  /** What its keys are made from; they are opened at their first use. */
  readonly keys?: KeyringSource | undefined;
  readonly tenantAccess: TenantAccess;
  readonly tenantConnections: number;
  readonly applicationName: string;
  readonly logLevel: string;
  readonly heapMb: number;
  /** How long a handler may take to stop after it was told to. */
  readonly graceMs: number;
  /** A process of its own ends itself when it hears nothing of its worker for so long: the lease is at its end. */
  readonly silenceMs: number;
}

export interface LogLine {
  /** ISO 8601. */
  readonly at: string;
  readonly level: string;
  readonly text: string;
}

export type ToExecutor =
  | { readonly kind: 'run'; readonly place: number; readonly attempt: BegunAttempt }
  | { readonly kind: 'abort'; readonly token: string; readonly reason: PackedError }
  | { readonly kind: 'llm_reply'; readonly callId: number; readonly reply: LlmReply }
  | { readonly kind: 'llm_error'; readonly callId: number; readonly error: PackedError }
  | { readonly kind: 'stop' };

export type FromExecutor =
  | { readonly kind: 'ready'; readonly jobTypes: readonly JobTypeFacts[] }
  | { readonly kind: 'unfit'; readonly error: PackedError }
  | { readonly kind: 'started'; readonly token: string }
  /** The executor itself told the attempt to stop: it must end within the grace. */
  | { readonly kind: 'aborting'; readonly token: string; readonly reason: PackedError }
  /** The attempt was told to stop, had its grace with the loop turning, and did not. */
  | { readonly kind: 'ignored'; readonly token: string }
  | { readonly kind: 'ended'; readonly token: string; readonly end: AttemptEnd }
  | {
      readonly kind: 'report';
      readonly token: string;
      readonly progress: { readonly done: number; readonly note: string | null } | undefined;
      readonly lines: readonly LogLine[];
      readonly refusals: number;
      readonly decryptionFailures: number;
    }
  | {
      readonly kind: 'llm_call';
      readonly token: string;
      readonly callId: number;
      readonly call: LlmCall;
    }
  /** Whether an answer in JSON fits its schema, which only the handler's side has. */
  | { readonly kind: 'llm_judged'; readonly fits: boolean }
  /** Nobody knows any more what state its code is in: it takes nothing new. */
  | { readonly kind: 'spoiled'; readonly reason: string }
  /** Only of an executor in a process of its own: its thread ended, how. */
  | { readonly kind: 'died'; readonly cause: DeathCause };

/** What is said for an executor that cannot say it. */
export function unfit(text: string): FromExecutor {
  const error = new PurserError('invalid_handlers', `the handlers did not load: ${text}`, {
    exitCode: exitCodes.configuration,
  });
  return { kind: 'unfit', error: packError(error) };
}

/** heap: its heap was full. ended: it ended by itself, nobody knows why. process: its process died. */
export interface DeathCause {
  readonly how: 'heap' | 'ended' | 'process';
  readonly text: string;
}

const places = 1024;

const indexOf = (place: number): number => 2 + (place % (places - 1));

/** Whether both have the same word of the board. */
export const placesClash = (one: number, other: number): boolean => indexOf(one) === indexOf(other);

/**
 * Memory that both threads see, because a blocked thread answers no message. A place is claimed by whoever
 * is first: the executor that starts the attempt, or the supervisor that gives it to another executor.
 */
export class SharedBoard {
  readonly memory: SharedArrayBuffer;
  readonly #beat: BigInt64Array<SharedArrayBuffer>;
  readonly #words: Int32Array<SharedArrayBuffer>;

  constructor(memory = new SharedArrayBuffer(16 + places * 4)) {
    this.memory = memory;
    this.#beat = new BigInt64Array(memory, 0, 1);
    this.#words = new Int32Array(memory, 8);
  }

  /** The executor's loop turns. */
  beat(): void {
    Atomics.store(this.#beat, 0, process.hrtime.bigint());
  }

  /** Milliseconds since the last beat; undefined before the first. */
  beatAgeMs(): number | undefined {
    const last = Atomics.load(this.#beat, 0);
    return last === 0n ? undefined : Number(process.hrtime.bigint() - last) / 1e6;
  }

  /** Whose code the executor runs now; 0 for nobody's. */
  setCurrent(place: number): void {
    Atomics.store(this.#words, 0, place);
  }

  current(): number {
    return Atomics.load(this.#words, 0);
  }

  /** Before the attempt is offered. Places count from 1; one that clashes must not be waited for any more. */
  offer(place: number): void {
    Atomics.store(this.#words, indexOf(place), place);
  }

  /** True for the first who asks since the place was offered. */
  claim(place: number): boolean {
    return Atomics.compareExchange(this.#words, indexOf(place), place, 0) === place;
  }
}
