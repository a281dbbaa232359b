/**
 * What Bull Board shows of an entry beside its ids: how many of its jobs are in which state of the database. The queue
 * knows only whether the entry was taken.
 */
import { z } from 'zod';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import type { Sql } from '../../db/connect.ts';
import { isJobId } from '../../job-id.ts';
import type { Logger } from '../../log.ts';
import type { Transport } from '../../queues/transport.ts';
import { within } from '../time-limit.ts';

const answerMs = 2_000;
/** Looked up for one page; of an entry beyond it no states are shown. */
const maxJobs = 5_000;

const entryData = z.looseObject({ jobIds: z.array(z.string().refine(isJobId)).min(1) });

export interface EntryAdapterOptions {
  readonly sql: Sql;
  readonly log: Logger;
  readonly queue: ReturnType<Transport['queue']>;
  readonly description: string;
}

type Jobs = Awaited<ReturnType<BullMQAdapter['getJobs']>>;

/** A read-only queue whose entries have the field `jobs`: the number of their jobs by state. */
export class EntryAdapter extends BullMQAdapter {
  readonly #sql: Sql;
  readonly #log: Logger;

  constructor({ sql, log, queue, description }: EntryAdapterOptions) {
    super(queue, {
      readOnlyMode: true,
      description,
      externalJobUrl: ({ data }) => {
        const [first, ...more] = entryData.safeParse(data).data?.jobIds ?? [];
        return first === undefined || more.length > 0
          ? { href: '/jobs', displayText: 'Jobs' }
          : { href: `/jobs/${first}`, displayText: `Job ${first}` };
      },
    });
    this.#sql = sql;
    this.#log = log;
  }

  override async getJobs(...range: Parameters<BullMQAdapter['getJobs']>): Promise<Jobs> {
    const jobs = await super.getJobs(...range);
    await this.#addStates(jobs);
    return jobs;
  }

  override async getJob(id: string): Promise<Jobs[number] | undefined> {
    const job = await super.getJob(id);
    if (job !== undefined) await this.#addStates([job]);
    return job;
  }

  async #addStates(jobs: Jobs): Promise<void> {
    const entries = jobs.flatMap((job) => {
      const data = entryData.safeParse(job.data).data;
      return data === undefined ? [] : [{ job, data }];
    });
    const ids = entries.flatMap(({ data }) => data.jobIds).slice(0, maxJobs);
    if (ids.length === 0) return;
    try {
      const states = new Map(
        (await within(answerMs, listStates(this.#sql, ids))).map(({ id, state }) => [id, state]),
      );
      for (const { job, data } of entries) {
        const counts: Record<string, number> = {};
        for (const id of data.jobIds) {
          const state = states.get(id) ?? 'not in the database';
          counts[state] = (counts[state] ?? 0) + 1;
        }
        // The copy in this process; the entry in the queue stays as it is.
        Object.assign(job, { data: { jobs: counts, ...data } });
      }
    } catch (error) {
      this.#log.warn({ error }, 'entry_states_not_read');
    }
  }
}

const listStates = async (
  sql: Sql,
  ids: readonly string[],
): Promise<{ id: string; state: string }[]> =>
  sql<{ id: string; state: string }[]>`
    select id, state from public.background_jobs where id = any(${[...ids]}::bigint[])`;
