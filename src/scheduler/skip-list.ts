/** Names that are skipped for a while after a failure of theirs, so that it is not met in every round. */

export interface SkipList {
  list(): readonly string[];
  add(name: string, error: unknown): void;
}

/** Calls `onAdd` for each addition. */
export function createSkipList(
  skipMs: number,
  onAdd: (name: string, error: unknown) => void,
): SkipList {
  const failedAtMs = new Map<string, number>();
  return {
    list: () => {
      for (const [name, atMs] of failedAtMs) {
        if (performance.now() - atMs >= skipMs) failedAtMs.delete(name);
      }
      return [...failedAtMs.keys()];
    },
    add: (name, error) => {
      failedAtMs.set(name, performance.now());
      onAdd(name, error);
    },
  };
}
