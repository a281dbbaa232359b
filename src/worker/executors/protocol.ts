/** The messages between the supervisor and an executor, in a thread or a process: plain data that can be cloned. */
import type { FinopsJobType } from '../../builtins.ts';
import type { KeyringSource } from '../../crypto/key-source.ts';
import type { TenantAccess } from '../../db/tenant-pool.ts';
import { exitCodes, PurserError } from '../../errors.ts';
import type { Backoff, Isolation } from '../../handlers/define.ts';
import type { AttemptEnd, BegunAttempt } from '../../jobs/attempts.ts';
import type { JobType } from '../../jobs/registration.ts';
import type { LlmCall, LlmReply } from '../../llm/llm.ts';
import type { DefinedSchedule } from '../../schedules/define.ts';
import { packError } from './packed-errors.ts';
import type { PackedError } from './packed-errors.ts';

/** A handler without its code, as the supervisor knows it. */
export interface JobTypeFacts extends JobType {
  readonly builtin: boolean;
  readonly concurrency: number | undefined;
  readonly llmTimeoutMs?: number | undefined;
  readonly isolation: Isolation;
  readonly durableBegin: boolean;
  readonly backoff: Backoff;
  readonly schedules: readonly DefinedSchedule[];
}

/** What an executor is started with. */
export interface ExecutorSetup {
  readonly handlersModule: string | undefined;
  /** Built-in FinOps job types to load; default all. */
  readonly finops?: readonly FinopsJobType[];
  /** Its keys are derived from this at their first use. */
  readonly keys?: KeyringSource | undefined;
  readonly tenantAccess: TenantAccess;
  readonly tenantConnections: number;
  readonly applicationName: string;
  readonly logLevel: string;
  readonly heapMb: number;
  /** How long a handler may take to stop after its signal aborted. */
  readonly graceMs: number;
  /** A process of one suspect ends itself after so long without a message from its worker: the lease has expired. */
  readonly silenceMs: number;
}

export interface LogLine {
  /** ISO 8601. */
  readonly at: string;
  readonly level: string;
  readonly text: string;
}

export interface RunMessage {
  readonly kind: 'run';
  readonly slotIndex: number;
  /** Attempts of one lane run one after another. */
  readonly laneId: number | undefined;
  readonly attempt: BegunAttempt;
}

export type ToExecutor =
  | RunMessage
  | { readonly kind: 'abort'; readonly token: string; readonly reason: PackedError }
  | { readonly kind: 'llm_reply'; readonly callId: number; readonly reply: LlmReply }
  /** Text of a stream, which ends with a reply or an error. */
  | { readonly kind: 'llm_text'; readonly callId: number; readonly text: string }
  | { readonly kind: 'llm_error'; readonly callId: number; readonly error: PackedError }
  | { readonly kind: 'stop' };

export type FromExecutor =
  | { readonly kind: 'ready'; readonly jobTypes: readonly JobTypeFacts[] }
  | { readonly kind: 'load_failed'; readonly error: PackedError }
  | { readonly kind: 'started'; readonly token: string }
  /** The executor itself aborted the attempt: it must end within the grace. */
  | { readonly kind: 'aborting'; readonly token: string; readonly reason: PackedError }
  /** The attempt was aborted and did not stop within the grace, although the event loop ran. */
  | { readonly kind: 'abort_ignored'; readonly token: string }
  | {
      readonly kind: 'ended';
      readonly token: string;
      readonly end: AttemptEnd;
      readonly runMs: number;
    }
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
  | {
      readonly kind: 'llm_stream';
      readonly token: string;
      readonly callId: number;
      readonly call: LlmCall;
    }
  /** The handler has read so much of a stream's text, in UTF-16 units. */
  | { readonly kind: 'llm_stream_read'; readonly callId: number; readonly length: number }
  /** The handler reads a stream no more. */
  | { readonly kind: 'llm_stream_left'; readonly callId: number }
  /** Whether a JSON answer matches its schema, which only the executor has. */
  | { readonly kind: 'llm_output_checked'; readonly fits: boolean }
  /** The state of its code is unknown since an uncaught exception: it must take no new attempts. */
  | { readonly kind: 'retire'; readonly reason: string }
  /** A fault of code for which no running attempt can be blamed: it was left by an ended one, or is the module's. */
  | {
      readonly kind: 'left_fault';
      readonly about: {
        readonly jobId: string | undefined;
        readonly jobType: string | undefined;
        readonly code: string;
        readonly reason: string;
      };
    }
  /** A handler changed a built-in, for every later job of the thread: it must take no new attempts. */
  | {
      readonly kind: 'built_in_changed';
      readonly property: string;
      /** Types of the jobs that ran since the last check. */
      readonly jobTypes: readonly string[];
    }
  /** A handler or a library sent a message that is not of this protocol; it was dropped. */
  | { readonly kind: 'foreign' }
  /** Only from a process of one suspect: how its thread ended. */
  | { readonly kind: 'died'; readonly cause: DeathCause };

/** Sent in place of an executor that could not start. */
export function loadFailed(handlersModule: string | undefined, text: string): FromExecutor {
  const what =
    handlersModule === undefined ? 'the handlers' : `PURSER_HANDLERS=${handlersModule}: the module`;
  const error = new PurserError('invalid_handlers', `${what} did not load: ${text}`, {
    exitCode: exitCodes.configuration,
  });
  return { kind: 'load_failed', error: packError(error) };
}

export const loadedTooLate = (handlersModule: string | undefined, withinMs: number) =>
  loadFailed(handlersModule, `code at its top level has not ended within ${withinMs} ms`);

/** heap: its heap was full. ended: its thread ended for an unknown reason. process: its process ended. */
export interface DeathCause {
  readonly how: 'heap' | 'ended' | 'process';
  readonly text: string;
}
