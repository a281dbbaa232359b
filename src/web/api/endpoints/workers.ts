/** The workers of the fleet, and draining them. */
import { z } from '@hono/zod-openapi';
import { drainWorkers } from '../../../operations/workers/drain.ts';
import { listWorkers } from '../../../operations/workers/list.ts';
import { read, write } from '../endpoint.ts';
import type { Endpoint } from '../endpoint.ts';
import { at, jobId, jobType, limit, reason, tenantId, text } from '../schemas/fields.ts';

const worker = z
  .object({
    workerId: z.string(),
    state: z.enum(['taking', 'draining', 'empty', 'silent']),
    host: z.string().nullable(),
    pid: z.int().nullable(),
    version: z.string().nullable(),
    slots: z.int().nullable(),
    startedAt: at.nullable(),
    beatAt: at.nullable(),
    jobTypes: z.array(z.string()),
    running: z.int(),
    drain: z.object({ by: z.string(), reason: z.string().nullable(), at }).nullable(),
  })
  .openapi('Worker');

const runningJob = z
  .object({
    jobId,
    jobType,
    tenantId,
    workerId: z.string(),
    attempt: z.int(),
    startedAt: at,
    ageMs: z.number(),
    progress: z.number().nullable(),
    note: z.string().nullable(),
  })
  .openapi('RunningJob');

const drained = z.object({
  workerIds: z.array(z.string()),
  changedIds: z.array(z.string()).openapi({ description: 'Those that did not drain yet, or did' }),
});

const ofWorker = {
  tag: 'workers',
  method: 'post',
  role: 'operator',
  limitedTokens: 'refused',
  key: 'optional',
  params: z.object({
    worker: text(500).openapi({ description: 'The id of a worker or the beginning of it' }),
  }),
  body: z.strictObject({ reason: reason.optional() }),
  answer: drained,
} as const;

export const workerEndpoints: readonly Endpoint[] = [
  read({
    path: '/workers',
    operationId: 'listWorkers',
    tag: 'workers',
    summary: 'List workers, and the oldest of the jobs that they run',
    role: 'viewer',
    limitedTokens: 'refused',
    query: z.strictObject({ limit: limit.openapi({ description: 'Of running jobs' }) }),
    answer: z.object({
      workers: z.array(worker),
      jobs: z.array(runningJob),
      runningJobs: z.int(),
    }),
    run: ({ sql, query: { limit } }) => listWorkers(sql, limit),
  }),
  write({
    ...ofWorker,
    path: '/workers/{worker}/drain',
    operationId: 'drainWorker',
    summary: 'Let a worker take no new jobs and end what it has',
    description: 'See GET /workers for how far it is: it is `empty` when it runs none.',
    act:
      ({ operator, params: { worker }, body: { reason } }) =>
      (tx) =>
        drainWorkers(tx, operator, { worker, reason, undo: false }),
  }),
  write({
    ...ofWorker,
    path: '/workers/{worker}/undo-drain',
    operationId: 'undoDrain',
    summary: 'Let a worker take jobs again',
    act:
      ({ operator, params: { worker }, body: { reason } }) =>
      (tx) =>
        drainWorkers(tx, operator, { worker, reason, undo: true }),
  }),
];
