/**
 * Shares the thread of the supervisor, which also renews the leases: long work gives the event loop a turn after each
 * of its steps, and of all the work that waits one step is taken at a time, in rotation.
 */

interface Task {
  /** Takes one step. True when the work has ended. */
  step(): boolean;
}

const waiting: Task[] = [];

/** Runs `work` from yield to yield. A step should take at most a few milliseconds. Throws what the work throws. */
export function inTurns<T>(work: Generator<void, T>): Promise<T> {
  return new Promise((resolve, reject) => {
    waiting.push({
      step: () => {
        try {
          const { done, value } = work.next();
          if (done !== true) return false;
          resolve(value);
        } catch (error) {
          reject(error);
        }
        return true;
      },
    });
    if (waiting.length === 1) setImmediate(takeTurn);
  });
}

function takeTurn(): void {
  const task = waiting.shift();
  if (task === undefined) return;
  if (!task.step()) waiting.push(task);
  if (waiting.length > 0) setImmediate(takeTurn);
}
