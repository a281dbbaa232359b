/** What one executor was given: by token, and by the place on the board that both sides claim and sign. */
import type { Assignment } from './assignment.ts';
import { placesClash } from './protocol.ts';
import type { SharedBoard } from './protocol.ts';

export class Roster {
  readonly #byToken = new Map<string, Assignment>();
  readonly #board: SharedBoard | undefined;
  #lastPlace = 0;

  constructor(board: SharedBoard | undefined) {
    this.#board = board;
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

  /** Its place is the next one that clashes with nobody's here. */
  add(assignment: Assignment): void {
    const others = this.list();
    do this.#lastPlace += 1;
    while (others.some(({ place }) => placesClash(place, this.#lastPlace)));
    assignment.place = this.#lastPlace;
    this.#byToken.set(assignment.attempt.token, assignment);
    this.#board?.offer(assignment.place);
  }

  take(token: string): Assignment | undefined {
    const assignment = this.#byToken.get(token);
    this.#byToken.delete(token);
    return assignment;
  }

  clear(): void {
    this.#byToken.clear();
  }

  /** True when it was not begun and never will be. */
  claim({ started, place }: Assignment): boolean {
    return !started && this.#board?.claim(place) === true;
  }

  /** Takes back all that was not begun. */
  withdraw(): Assignment[] {
    const unbegun = this.list().filter((assignment) => this.claim(assignment));
    for (const { attempt } of unbegun) this.#byToken.delete(attempt.token);
    return unbegun;
  }

  /** Whose code ran last; undefined when it was nobody's of these. */
  signer(): Assignment | undefined {
    const place = this.#board?.current() ?? 0;
    return this.list().find((assignment) => assignment.place === place);
  }
}
