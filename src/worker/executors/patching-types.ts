/**
 * Job types whose handlers change built-ins while they run, found by elimination: each change names the types that may
 * have made it. A type that is found gets a thread for each of its jobs.
 */
import type { Logger } from '../../log.ts';
import type { Assignment } from './assignment.ts';
import type { ExecutorKind } from './managed-executor-options.ts';
import type { FromExecutor } from './protocol.ts';

export class PatchingTypes {
  readonly #log: Logger;
  readonly #found = new Set<string>();
  #candidates: readonly string[] = [];

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Where an attempt runs. */
  kindFor({ attempt, facts }: Pick<Assignment, 'attempt' | 'facts'>): ExecutorKind {
    if (attempt.isolated) return 'alone';
    return this.#found.has(facts.type) ? 'exclusive' : facts.isolation;
  }

  /** One of the types of the message changed a built-in. */
  add({ property, jobTypes }: Extract<FromExecutor, { readonly kind: 'built_in_changed' }>): void {
    const both = jobTypes.filter((type) => this.#candidates.includes(type));
    const left = both.length === 0 ? jobTypes : both;
    const separate = left.length === 1 ? left[0] : undefined;
    if (separate !== undefined) this.#found.add(separate);
    this.#candidates = separate === undefined ? left : [];
    this.#log.warn({ property, jobTypes, separate }, 'built_in_changed');
  }
}
