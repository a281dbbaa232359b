/** Jobs of a lane run one after another in one thread; those that it does not come to run elsewhere, and none is lost. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { AbortSource } from '../../../src/worker/executors/abort-source.ts';
import { newLane } from '../../../src/worker/executors/assignment.ts';
import type { Outcome } from '../../../src/worker/executors/assignment.ts';
import { attemptOf, openPool } from './built-executors.ts';
import type { BuiltPool } from './built-executors.ts';

const handlers = `
let running = 0;
const seen = [];
const h = (type, run, more = {}) => ({ type, timeoutMs: 20_000, maxAttempts: 3, run, ...more });
export const handlers = [
  h('counts', async ({ jobId }) => {
    running += 1;
    const most = running;
    await new Promise((resolve) => setTimeout(resolve, 2));
    running -= 1;
    seen.push(jobId);
    return { most, seen: [...seen] };
  }),
  h('throws', async () => { throw new Error('no'); }),
  h('waits', () => new Promise((resolve) => setTimeout(resolve, 3_000, 'waited'))),
  h('spins', () => { for (;;); }, { timeoutMs: 500 }),
  h('patches', async () => { Array.prototype.at = () => 'patched'; }),
];
`;

let pool: BuiltPool;
beforeEach(async () => {
  pool = await openPool(handlers);
});
afterEach(() => pool.close());

/** Runs them in one lane; resolves to their outcomes in order. */
function runLane(types: readonly string[], aborts: readonly AbortSource[] = []) {
  const lane = newLane();
  return types.map(
    (type, at) =>
      new Promise<Outcome | undefined>((resolve) => {
        const abort = aborts[at] ?? new AbortSource();
        pool.executors.run(attemptOf(type, String(at + 1)), abort, resolve, lane);
      }),
  );
}

const states = (outcomes: readonly (Outcome | undefined)[]) =>
  outcomes.map((outcome) => outcome?.end.toState);

it('they run one after another in the order in which they were given, beside other lanes', async () => {
  const [one, two] = [runLane(Array(5).fill('counts')), runLane(Array(5).fill('counts'))];
  const ends = await Promise.all([...one, ...two]);
  const results = ends.map((outcome) => outcome?.end.result as { most: number; seen: string[] });
  expect(Math.max(...results.map(({ most }) => most))).toBe(2);
  const last = results.find(({ seen }) => seen.length === 10)?.seen ?? [];
  expect(last.toSorted()).toEqual(['1', '1', '2', '2', '3', '3', '4', '4', '5', '5']);
  const firsts = last.filter((id, at) => last.indexOf(id) === at);
  expect(firsts).toEqual(['1', '2', '3', '4', '5']);
});

it('one that fails, or is aborted before its turn, keeps no other from running', async () => {
  const cancelled = new AbortSource();
  const types = ['throws', 'counts', 'counts', 'throws', 'counts'];
  const ends = runLane(
    types,
    [undefined, undefined, cancelled].map((abort) => abort ?? new AbortSource()),
  );
  cancelled.abort(new Error('cancelled'));
  expect(states(await Promise.all(ends))).toEqual([
    'failed',
    'completed',
    'failed',
    'failed',
    'completed',
  ]);
});

it('those behind one that suddenly takes long are given back unstarted, and it goes on', async () => {
  const [long, ...behind] = runLane(['waits', 'counts', 'counts']);
  expect(await Promise.all(behind)).toEqual([undefined, undefined]);
  expect((await long)?.end).toMatchObject({ toState: 'completed', result: 'waited' });
  expect(await pool.run('counts')).toMatchObject({ result: { seen: ['1'] } });
});

it('those behind one that blocks its thread, or changes its built-ins, are given back unstarted', async () => {
  const blocked = await Promise.all(runLane(['spins', 'counts', 'counts']));
  expect(blocked.slice(1)).toEqual([undefined, undefined]);
  expect(blocked[0]?.end).toMatchObject({ toState: expect.stringMatching(/pending|failed/) });
  const patched = await Promise.all(runLane(['patches', 'counts', 'counts', 'counts']));
  for (const outcome of patched.slice(1)) {
    expect([undefined, 'completed']).toContain(outcome?.end.toState);
  }
});

it('all that have not started are given back at once on request, as when the worker stops', async () => {
  const ends = runLane(['waits', 'counts', 'counts']);
  pool.executors.recall();
  expect(await Promise.all(ends.slice(1))).toEqual([undefined, undefined]);
});

it('the time of an attempt is that since its own start, whoever ends it', async () => {
  const [first, second] = await Promise.all(runLane(['spins', 'counts']));
  expect(second).toBeUndefined();
  // Its timeout at least, which the supervisor counts.
  expect(first?.runMs).toBeGreaterThanOrEqual(450);
  const aborted = new AbortSource();
  aborted.abort(new Error('cancelled'));
  const [unstarted] = await Promise.all(runLane(['counts'], [aborted]));
  expect(unstarted?.runMs).toBeUndefined();
});

it('a lane whose thread was replaced gives back what is given to it later', async () => {
  const lane = newLane();
  const run = (type: string) =>
    new Promise<Outcome | undefined>((resolve) => {
      pool.executors.run(attemptOf(type, '1'), new AbortSource(), resolve, lane);
    });
  await run('spins');
  expect(await run('counts')).toBeUndefined();
});
