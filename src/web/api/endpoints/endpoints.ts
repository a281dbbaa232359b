/** The endpoints of the API, in the order of its document. A path without parameters stands before one that has them. */
import type { Endpoint } from '../endpoint.ts';
import { auditEndpoint } from './audit.ts';
import { batchEndpoints } from './batches.ts';
import { budgetEndpoints } from './budgets.ts';
import { callEndpoints } from './calls.ts';
import { deadLetterEndpoints } from './dead-letters.ts';
import { enqueueEndpoint } from './enqueue.ts';
import { jobEndpoints } from './jobs.ts';
import { pauseEndpoints } from './pauses.ts';
import { scheduleEndpoints } from './schedules.ts';
import { tenantEndpoint } from './tenants.ts';
import { whyEndpoints } from './why.ts';
import { workerEndpoints } from './workers.ts';

export const endpoints: readonly Endpoint[] = [
  enqueueEndpoint,
  ...jobEndpoints,
  ...whyEndpoints,
  ...deadLetterEndpoints,
  ...batchEndpoints,
  ...budgetEndpoints,
  ...callEndpoints,
  ...scheduleEndpoints,
  tenantEndpoint,
  ...workerEndpoints,
  ...pauseEndpoints,
  auditEndpoint,
];
