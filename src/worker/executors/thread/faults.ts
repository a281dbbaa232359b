/**
 * What would end a process (process.exit, process.kill of itself, an unhandled rejection, an exception in a timer) ends
 * one attempt. What no running attempt can be blamed for is reported, for the log.
 */
import { syncBuiltinESMExports } from 'node:module';
import { messageOf, PurserError } from '../../../errors.ts';
import { readableThrown, storableText } from '../../store-value.ts';
import type { FromExecutor } from '../protocol.ts';
import { currentAttempt } from './executor.ts';
import type { Executor } from './executor.ts';

const maxMessageLength = 4_000;
/** Reports in a minute: code that was left running can fail without end. */
const maxReports = 60;
const minuteMs = 60_000;

/** Called before an exit or a kill of the own process, with what the handler did. */
export type OnExit = (call: string, advice: string) => void;

export interface Exits {
  onExit: OnExit | undefined;
}

/** Before the handlers load, which may keep `process.exit`. While they load, an exit ends the thread. */
export function trapExits(): Exits {
  const exits: Exits = { onExit: undefined };
  const ownPid = process.pid;
  const exit = process.exit.bind(process);
  const kill = process.kill.bind(process);
  // A signal to the own process, its group or every process reaches the worker, and all of its jobs.
  const isOwn = (pid: number): boolean => [ownPid, -ownPid, 0, -1].includes(pid);
  process.exit = (exitCode?: number | string | null): never => {
    // Node itself calls it where a thread ends by an exception.
    const isEnding = Reflect.get(process, '_exiting') === true;
    if (isEnding) return exit(exitCode);
    exits.onExit?.(
      `process.exit(${typeof exitCode === 'number' ? exitCode : ''})`,
      'a handler ends by returning or throwing',
    );
    return exit(exitCode);
  };
  process.kill = (pid: number, signal?: string | number): true => {
    // Node takes a text, too.
    const given: unknown = pid;
    if (signal === 0 || !isOwn(Number(given))) return kill(pid, signal);
    const call = `process.kill(${Number(given)})`;
    const advice =
      'the worker runs in this process, with its other jobs; a handler ends by returning or throwing';
    exits.onExit?.(call, advice);
    throw new PurserError('handler_exit', `the handlers module called ${call}: ${advice}`);
  };
  // For `import { exit } from 'node:process'`.
  syncBuiltinESMExports();
  return exits;
}

export function trapFaults(
  executor: Executor,
  exits: Exits,
  post: (message: FromExecutor) => void,
): void {
  let reports = 0;
  let sinceMs = performance.now();
  const report = (error: PurserError): void => {
    if (performance.now() - sinceMs > minuteMs) [reports, sinceMs] = [0, performance.now()];
    reports += 1;
    if (reports > maxReports) return;
    const { jobId, jobType } = currentAttempt.getStore() ?? {};
    const reason = executor.redact(error.message);
    post({ kind: 'left_fault', about: { jobId, jobType, code: error.code, reason } });
  };
  const isBlamed = (error: PurserError): boolean => {
    const running = currentAttempt.getStore();
    return running !== undefined && executor.fault(running.token, error);
  };
  exits.onExit = (call, advice) => {
    const error = new PurserError('handler_exit', `the handler called ${call}; ${advice}`);
    if (!isBlamed(error)) report(error);
    throw error;
  };
  process.on('unhandledRejection', (thrown: unknown) => {
    const cause = readableThrown(thrown);
    const message = storableText(messageOf(cause), maxMessageLength);
    const text = `the handler did not handle the rejection of a promise: ${message}`;
    const error = new PurserError('unhandled_rejection', text, { cause });
    if (!isBlamed(error)) report(error);
  });
  process.on('uncaughtException', (thrown: unknown) => {
    const cause = readableThrown(thrown);
    if (cause instanceof PurserError && cause.code === 'handler_exit') return;
    const message = storableText(messageOf(cause), maxMessageLength);
    const text = `the handler did not catch an exception in a callback: ${message}`;
    isBlamed(new PurserError('uncaught_exception', text, { cause }));
    post({ kind: 'retire', reason: executor.redact(text) });
  });
}
