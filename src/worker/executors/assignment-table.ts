/** The attempts that one executor was given, found by token, and their slots in the claim table. */
import type { Assignment } from './assignment.ts';
import { wordOf } from './claim-table.ts';
import type { ClaimTable } from './claim-table.ts';

export class AssignmentTable {
  readonly #byToken = new Map<string, Assignment>();
  readonly #usedWords = new Set<number>();
  readonly #claimTable: ClaimTable | undefined;
  #lastSlotIndex = 0;

  constructor(claimTable: ClaimTable | undefined) {
    this.#claimTable = claimTable;
  }

  get size(): number {
    return this.#byToken.size;
  }

  list(): Assignment[] {
    return [...this.#byToken.values()];
  }

  get jobIds(): string[] {
    return this.list().map(({ attempt }) => attempt.jobId);
  }

  find(token: string): Assignment | undefined {
    return this.#byToken.get(token);
  }

  /** Gives it the next slot that collides with no other assignment of this table. */
  add(assignment: Assignment): void {
    do this.#lastSlotIndex += 1;
    while (this.#usedWords.has(wordOf(this.#lastSlotIndex)));
    assignment.slotIndex = this.#lastSlotIndex;
    this.#usedWords.add(wordOf(assignment.slotIndex));
    this.#byToken.set(assignment.attempt.token, assignment);
    this.#claimTable?.offer(assignment.slotIndex);
  }

  remove(token: string): Assignment | undefined {
    const assignment = this.#byToken.get(token);
    if (assignment === undefined) return undefined;
    this.#byToken.delete(token);
    this.#usedWords.delete(wordOf(assignment.slotIndex));
    return assignment;
  }

  clear(): void {
    this.#byToken.clear();
    this.#usedWords.clear();
  }

  /** Attempts whose code has begun to run here, although the message that says so has not arrived. */
  listUnreportedStarts(): Assignment[] {
    const table = this.#claimTable;
    if (table === undefined) return [];
    return this.list().filter(({ started, slotIndex }) => !started && table.isClaimed(slotIndex));
  }

  /** Whether its code has ended here, although the message that says so has not arrived. */
  hasEnded({ slotIndex }: Assignment): boolean {
    return this.#claimTable?.hasEnded(slotIndex) === true;
  }

  /** True when the attempt has not started in this executor and can no longer start there. */
  claim({ started, slotIndex }: Assignment): boolean {
    return !started && this.#claimTable?.claim(slotIndex) === true;
  }

  /** Removes and returns every attempt that has not started; with `which` of those. */
  withdrawUnstarted(which: (assignment: Assignment) => boolean = () => true): Assignment[] {
    const unstarted = this.list().filter((one) => which(one) && this.claim(one));
    for (const { attempt } of unstarted) this.remove(attempt.token);
    return unstarted;
  }

  /** Returns whether there was an attempt that was given before and that its lane did not come to. */
  recall(givenBeforeMs: number): boolean {
    const late = this.withdrawUnstarted(
      ({ lane, givenAtMs }) => lane !== undefined && givenAtMs < givenBeforeMs,
    );
    for (const { resolve } of late) resolve(undefined);
    return late.length > 0;
  }

  /** The job whose code ran last, where that is known. */
  get lastRunningJobId(): string | undefined {
    const slotIndex = this.#claimTable?.running() ?? 0;
    const last = this.list().find((assignment) => assignment.slotIndex === slotIndex);
    return last?.attempt.jobId;
  }
}
