/**
 * The build under measurement: the code of `dist/`, or of another folder to compare two builds, with the types of the
 * sources.
 */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type * as cliPrepareDatabase from '../../src/cli/runtime/prepare-database.ts';
import type * as cliServices from '../../src/cli/runtime/services.ts';
import type * as cliWorkerParts from '../../src/cli/runtime/worker-parts.ts';
import type * as config from '../../src/config.ts';
import type * as dbConnect from '../../src/db/connect.ts';
import type * as dbHeartbeats from '../../src/db/heartbeats.ts';
import type * as handlersIndex from '../../src/handlers/index.ts';
import type * as handlersJobTypes from '../../src/handlers/job-types.ts';
import type * as jobsDispatch from '../../src/jobs/dispatch.ts';
import type * as jobsQueued from '../../src/jobs/queued.ts';
import type * as jobsEnqueue from '../../src/jobs/enqueue.ts';
import type * as jobsPauses from '../../src/jobs/pauses.ts';
import type * as jobsRegistration from '../../src/jobs/registration.ts';
import type * as lifecycle from '../../src/process/lifecycle.ts';
import type * as log from '../../src/log.ts';
import type * as queuesTransport from '../../src/queues/transport.ts';
import type * as workerAbortSource from '../../src/worker/executors/abort-source.ts';
import type * as workerBatches from '../../src/worker/batches/attempt-batches.ts';

export async function loadBuild(dist: string) {
  const load = (path: string): Promise<unknown> => import(pathToFileURL(join(dist, path)).href);
  return {
    ...((await load('cli/runtime/prepare-database.js')) as typeof cliPrepareDatabase),
    ...((await load('cli/runtime/services.js')) as typeof cliServices),
    ...((await load('cli/runtime/worker-parts.js')) as typeof cliWorkerParts),
    ...((await load('config.js')) as typeof config),
    ...((await load('db/connect.js')) as typeof dbConnect),
    ...((await load('db/heartbeats.js')) as typeof dbHeartbeats),
    ...((await load('handlers/index.js')) as typeof handlersIndex),
    ...((await load('handlers/job-types.js')) as typeof handlersJobTypes),
    ...((await load('jobs/dispatch.js')) as typeof jobsDispatch),
    ...((await load('jobs/queued.js')) as typeof jobsQueued),
    ...((await load('jobs/enqueue.js')) as typeof jobsEnqueue),
    ...((await load('jobs/pauses.js')) as typeof jobsPauses),
    ...((await load('jobs/registration.js')) as typeof jobsRegistration),
    ...((await load('process/lifecycle.js')) as typeof lifecycle),
    ...((await load('log.js')) as typeof log),
    ...((await load('queues/transport.js')) as typeof queuesTransport),
    ...((await load('worker/batches/attempt-batches.js')) as typeof workerBatches),
    ...((await load('worker/executors/abort-source.js')) as typeof workerAbortSource),
  };
}

export type Build = Awaited<ReturnType<typeof loadBuild>>;
