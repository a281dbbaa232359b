/**
 * The supervisor's pool of executors: gives every attempt a place to run, replaces what was closed or
 * killed, and answers what handlers ask of the supervisor. Every attempt that is given gets one end.
 */
import type { AttemptEnd, BegunAttempt } from '../../jobs/attempts.ts';
import type { LlmGateway } from '../../llm/create-llm.ts';
import type { Logger } from '../../log.ts';
import type { Metrics } from '../../metrics.ts';
import { later } from './after-kill.ts';
import { createAssignment } from './assignment.ts';
import type { Assignment } from './assignment.ts';
import type { Report } from './attempt-log.ts';
import { Member } from './managed-executor.ts';
import { executorConnections } from './managed-executor-options.ts';
import type { MemberEvents, MemberKind } from './managed-executor-options.ts';
import type { DeathCause, ExecutorSetup, FromExecutor, JobTypeFacts } from './protocol.ts';
import type { SpawnExecutor } from './spawn.ts';
import { defaultTiming } from './timing.ts';
import type { ExecutorTiming } from './timing.ts';
import { answerLlmCall } from './llm-calls.ts';
import { unpackError } from './packed-errors.ts';

export interface ExecutorsOptions {
  readonly setup: Omit<ExecutorSetup, 'tenantConnections' | 'applicationName'>;
  /** Names the sessions of each executor on the server, followed by a number. At most 50 characters. */
  readonly applicationName: string;
  readonly threads: number;
  /** More suspects than this go back and come again: who waits at the door takes a place of the worker's. */
  readonly maxWaitingSuspects: number;
  readonly llm: LlmGateway;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, 'executorsBlocked' | 'executorsKilled'>;
  readonly spawn: { readonly thread: SpawnExecutor; readonly process: SpawnExecutor };
  readonly endSessions: (applicationName: string) => Promise<unknown>;
  readonly timing?: Partial<ExecutorTiming>;
}

/** What the worker hears of its executors. */
export interface ExecutorsListener {
  readonly report: (token: string, report: Report) => void;
  /** A thread does not die: the worker has to leave, and end itself by force. */
  readonly wedged: (text: string) => void;
}

const watchEveryMs = 100;
const againAfterMs = 3_000;
/** Handlers that do not load any more are not tried again for so long. */
const unfitPauseMs = 10_000;

export class Executors {
  readonly #options: ExecutorsOptions;
  readonly #timing: ExecutorTiming;
  readonly #members = new Set<Member>();
  readonly #suspects: Assignment[] = [];
  readonly #watch: NodeJS.Timeout;
  #watchedAtMs = performance.now();
  #listener: ExecutorsListener | undefined;
  #jobTypes: ReadonlyMap<string, JobTypeFacts> = new Map();
  #opening: ((outcome: readonly JobTypeFacts[] | Error) => void) | undefined;
  #lastMember = 0;
  #unfitUntilMs = 0;
  #closed = false;

  private constructor(options: ExecutorsOptions) {
    this.#options = options;
    this.#timing = { ...defaultTiming, ...options.timing };
    this.#watch = setInterval(() => this.#look(), watchEveryMs);
  }

  /** Starts the first executor, which loads the handlers. Throws `invalid_handlers` (exit 78). */
  static async open(options: ExecutorsOptions): Promise<Executors> {
    const executors = new Executors(options);
    const outcome = await new Promise<readonly JobTypeFacts[] | Error>((resolve) => {
      executors.#opening = resolve;
      executors.#spawn('shared');
    });
    executors.#opening = undefined;
    if (outcome instanceof Error) {
      await executors.close();
      throw outcome;
    }
    executors.#jobTypes = new Map(outcome.map((facts) => [facts.type, facts]));
    return executors;
  }

  /** The job types that there are handlers for. */
  get jobTypes(): ReadonlyMap<string, JobTypeFacts> {
    return this.#jobTypes;
  }

  listen(listener: ExecutorsListener): void {
    this.#listener = listener;
  }

  /** Runs an attempt to its end, whatever that is. The controller's abort is obeyed, by force if need be. */
  async run(attempt: BegunAttempt, controller: AbortController): Promise<AttemptEnd> {
    const facts = this.#jobTypes.get(attempt.jobType);
    if (facts === undefined) throw new Error(`this worker has no handler for ${attempt.jobType}`);
    const { assignment, end } = createAssignment(attempt, facts, controller);
    controller.signal.addEventListener('abort', () => this.#aborted(assignment), { once: true });
    this.#place(assignment);
    if (controller.signal.aborted) this.#aborted(assignment);
    return end;
  }

  /** Ends all executors; attempts that still run are settled as handed back. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#watch);
    await Promise.all(
      [...this.#members].map((member) =>
        member.size === 0 ? member.stop() : member.kill('left', 'the worker is leaving'),
      ),
    );
  }

  #aborted(assignment: Assignment): void {
    const waiting = this.#suspects.indexOf(assignment);
    if (waiting !== -1) {
      this.#suspects.splice(waiting, 1);
      assignment.settle(later('the worker let go of it before it began', 0));
      return;
    }
    this.#memberOf(assignment)?.abort(assignment);
  }

  #memberOf({ attempt }: Assignment): Member | undefined {
    return [...this.#members].find((member) => member.find(attempt.token) !== undefined);
  }

  #place(assignment: Assignment): void {
    const kind = assignment.attempt.isolated ? 'alone' : assignment.facts.isolation;
    if (this.#closed) assignment.settle(later('the worker is leaving', 0));
    else if (this.#isUnfit && (kind !== 'shared' || this.#open.length === 0)) {
      assignment.settle(later('this worker cannot load its handlers any more', unfitPauseMs));
    } else if (kind !== 'alone' || !this.#hasSuspect()) this.#choose(kind).give(assignment);
    else if (this.#suspects.length < this.#options.maxWaitingSuspects)
      this.#suspects.push(assignment);
    else
      assignment.settle(later('another job runs alone here', againAfterMs * (0.5 + Math.random())));
  }

  /** What is open goes on; nothing is started. */
  get #isUnfit(): boolean {
    return performance.now() < this.#unfitUntilMs;
  }

  get #open(): Member[] {
    return [...this.#members].filter(({ kind, closed }) => kind === 'shared' && !closed);
  }

  #hasSuspect(): boolean {
    return [...this.#members].some(({ kind }) => kind === 'alone');
  }

  #choose(kind: MemberKind): Member {
    if (kind !== 'shared') return this.#spawn(kind);
    const open = this.#open;
    const enough = open.some(({ size }) => size === 0 || this.#isUnfit);
    if (open.length < this.#options.threads && !enough) return this.#spawn(kind);
    return open.reduce((least, member) => (member.size < least.size ? member : least));
  }

  #spawn(kind: MemberKind): Member {
    const { setup, spawn, log, metrics } = this.#options;
    this.#lastMember += 1;
    const applicationName = `${this.#options.applicationName} ${this.#lastMember}`;
    const { graceMs } = setup;
    const given = { kind, applicationName, graceMs, timing: this.#timing, log, metrics };
    const member = new Member({ ...given, events: this.#events() });
    const start = kind === 'alone' ? spawn.process : spawn.thread;
    const heard = {
      message: (message: FromExecutor) => member.receive(message),
      died: (cause: DeathCause) => member.died(cause),
    };
    member.attach(
      start({ ...setup, tenantConnections: executorConnections[kind], applicationName }, heard),
    );
    this.#members.add(member);
    return member;
  }

  #events(): MemberEvents<Member> {
    return {
      message: (member, message) => this.#hear(member, message),
      again: (assignments) => this.#again(assignments),
      idle: (member) => this.#idle(member),
      wedged: (text) => this.#listener?.wedged(text),
      endSessions: this.#options.endSessions,
    };
  }

  /** What a closed member gives back; the next one loads while nobody waits for it yet. */
  #again(assignments: readonly Assignment[]): void {
    for (const assignment of assignments) this.#place(assignment);
    if (!this.#closed && !this.#isUnfit && this.#jobTypes.size > 0) this.#choose('shared');
  }

  #hear(member: Member, message: FromExecutor): void {
    switch (message.kind) {
      case 'ready':
        this.#opening?.(message.jobTypes);
        return;
      case 'unfit': {
        const error = unpackError(message.error);
        this.#opening?.(error);
        this.#options.log.error({ error }, 'handlers_unfit');
        this.#unfitUntilMs = performance.now() + unfitPauseMs;
        void member.kill('left', 'its handlers do not load');
        return;
      }
      case 'report':
        this.#listener?.report(message.token, message);
        return;
      case 'llm_judged':
        this.#options.llm.countAnswer(message.fits);
        return;
      case 'llm_call': {
        const assignment = member.find(message.token);
        if (assignment === undefined) return;
        void answerLlmCall(this.#options, assignment, message).then((answer) =>
          member.post(answer),
        );
        return;
      }
      default:
    }
  }

  #idle(member: Member): void {
    if (!member.closed || !this.#members.delete(member)) return;
    void member.stop();
    // More than one of them where none can begin.
    while (!this.#closed && this.#suspects.length > 0 && !this.#hasSuspect())
      for (const next of this.#suspects.splice(0, 1)) this.#place(next);
  }

  /** A process that was stopped itself, or starved, has no right to call its threads silent. */
  #look(): void {
    const nowMs = performance.now();
    const late = nowMs - this.#watchedAtMs > watchEveryMs * 4;
    this.#watchedAtMs = nowMs;
    if (late) return;
    for (const member of this.#members) member.watch();
  }
}
