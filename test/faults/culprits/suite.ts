/** A misbehaving handler affects only its own job, with queues in either store. */
import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';
import type { Audit } from '../auditor.ts';
import { say } from '../figures.ts';
import { watchMemory } from '../memory-warden.ts';
import { outageWaitMs, together } from '../until.ts';
import { onStage } from '../fleet.ts';
import type { BackendKind, Stage } from '../fleet.ts';

/** How a job ended: `completed`, or the code of its dead letter. */
type Ends = Record<string, string>;

const neighbours = 20;
/** How long the neighbours go on after the culprit has begun. */
const neighbourMs = 2_000;

/** Four crashes of a process that first fills its memory, beside seven other fleets. */
const crashesWithinMs = 900_000;

const ended = ['completed', 'dead_letter', 'cancelled'] as const;

interface Culprit {
  readonly how: string;
  readonly jobType?: 'fault_culprit' | 'fault_glutton' | 'fault_crash';
  readonly neighbourType?: 'fault_io' | 'fault_io_brief';
  /** Its name in the expected results. Default: how. */
  readonly name?: string;
}

/** One misbehaving job beside 20 jobs that already run. Returns its end. */
async function beside(stage: Stage, culprit: Culprit): Promise<string> {
  const { how, jobType = 'fault_culprit', neighbourType = 'fault_io' } = culprit;
  const { sql } = stage;
  const fifo = stage.gate();
  const gate = stage.gate();
  execFileSync('/usr/bin/mkfifo', [fifo]);
  const others = await stage.enqueue(
    neighbourType,
    Array.from({ length: neighbours }, () => ({ gate, ms: neighbourMs })),
  );
  if (neighbourType === 'fault_io') await stage.untilStates(others, neighbours, 'running');
  const [jobId = ''] = await stage.enqueue(jobType, [{ how, fifo }]);
  await stage.untilStates([jobId], 1, 'running', ...ended);
  await stage.open(gate);
  await stage.untilEnded(jobId, jobType === 'fault_crash' ? crashesWithinMs : outageWaitMs);
  await stage.untilStates(others, neighbours, ...ended);
  const harmed = await sql`
    select id, state, attempt, error from background_jobs
    where id = any(${others}::bigint[]) and (state <> 'completed' or attempt <> 1)`;
  expect({ how, harmed: [...harmed] }).toEqual({ how, harmed: [] });
  const [end] = await sql<{ word: string }[]>`
    select case state when 'dead_letter' then error->>'code' else state end as word
    from background_jobs where id = ${jobId}::bigint`;
  return end?.word ?? 'gone';
}

interface Played {
  readonly ends: Ends;
  /** How processes of the worker ended; empty: the first one still runs. */
  readonly deaths: readonly (number | string | null)[];
  readonly audited: Audit;
}

/** One after the other beside a worker that is started again whenever it dies. */
async function play(backend: BackendKind, culprits: readonly Culprit[]): Promise<Played> {
  return onStage({ backend }, async (stage) => {
    await stage.keepScheduler();
    const worker = await stage.keepWorker();
    const warden = watchMemory(worker, 1_200);
    const ends: Ends = {};
    try {
      for (const culprit of culprits) {
        ends[culprit.name ?? culprit.how] = await beside(stage, culprit);
      }
    } finally {
      warden.stop();
    }
    const deaths = worker.ended.map(({ code, signal }) => code ?? signal);
    say(
      `${backend}: ${JSON.stringify(ends)}, worker ended ${deaths.length} times ${deaths.join()}`,
    );
    return { ends, deaths, audited: await stage.audit() };
  });
}

const endsOf = (played: readonly Played[]): Ends =>
  Object.assign({}, ...played.map(({ ends }) => ends));
const faultsOf = (played: readonly Played[]) => played.flatMap(({ audited }) => audited.faults);
const deathsOf = (played: readonly Played[]) => played.flatMap(({ deaths }) => deaths);

const all = (...hows: readonly string[]): Culprit[] => hows.map((how) => ({ how }));

export function describeCulprits(backend: BackendKind): void {
  it('a handler that does not stop ends by its deadline, alone', async () => {
    const minute = {
      name: 'loop of a minute',
      how: 'loop',
      jobType: 'fault_glutton',
      neighbourType: 'fault_io_brief',
    } as const;
    const played = await together([
      play(backend, [minute]),
      play(backend, all('loop', 'deaf')),
      play(backend, all('atomics', 'regexp')),
    ]);
    expect(endsOf(played)).toEqual({
      'loop of a minute': 'job_timeout',
      loop: 'job_timeout',
      deaf: 'job_timeout',
      atomics: 'job_timeout',
      regexp: 'job_timeout',
    });
    expect(deathsOf(played)).toEqual([]);
    expect(faultsOf(played)).toEqual([]);
  });

  it('a handler that throws or returns a hostile value ends, and no other job is affected', async () => {
    const hows = ['throw_null', 'throw_hostile', 'circular', 'bigint', 'huge', 'uncloneable'];
    const played = [await play(backend, all(...hows))];
    expect(endsOf(played)).toEqual({
      throw_null: 'not_an_error',
      throw_hostile: expect.any(String),
      circular: 'completed',
      bigint: 'completed',
      huge: 'completed',
      uncloneable: 'completed',
    });
    expect(deathsOf(played)).toEqual([]);
    expect(faultsOf(played)).toEqual([]);
  });

  it('a handler that ends its process, or fills its heap, ends alone', async () => {
    const heap = { how: 'heap', jobType: 'fault_glutton' } as const;
    const played = await together([
      play(backend, [...all('exit', 'exit_later'), heap]),
      play(backend, all('rejection', 'timer_throw')),
    ]);
    const ends = endsOf(played);
    expect(Object.keys(ends)).toHaveLength(5);
    expect([ends['exit'], ends['exit_later'], ends['timer_throw'], ends['heap']]).not.toContain(
      'completed',
    );
    expect(deathsOf(played)).toEqual([]);
    expect(faultsOf(played)).toEqual([]);
  });

  it('a handler that crashes its process becomes a dead letter after three crashes alone', async () => {
    const played = await together([
      play(backend, [{ how: 'array', jobType: 'fault_crash' }]),
      play(backend, [{ how: 'buffers', jobType: 'fault_crash' }]),
      play(backend, all('fifo')),
      play(backend, all('pbkdf2')),
    ]);
    expect(endsOf(played)).toEqual({
      array: 'worker_lost',
      buffers: 'worker_lost',
      // These two run until their deadline, each alone in a process.
      fifo: expect.stringMatching(/^(worker_lost|job_timeout)$/),
      pbkdf2: expect.stringMatching(/^(worker_lost|job_timeout)$/),
    });
    expect(faultsOf(played)).toEqual([]);
  }, 1_500_000);
}
