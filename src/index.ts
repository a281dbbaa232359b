/**
 * The public entry of the package: accept work from your own code, and define handlers.
 */
export { enqueue, enqueueMany } from './handlers/client.ts';
export type { EnqueueManyOptions, EnqueueOptions } from './handlers/client.ts';
export type { Connection, Enqueued } from './jobs/enqueue.ts';
export { defineHandler } from './handlers/define.ts';
export type { Handler, HandlerDefinition, JobContext, PlainHandler } from './handlers/define.ts';
export { cancel, done, park, retry, snooze } from './handlers/outcome.ts';
export type { Outcome } from './handlers/outcome.ts';
export { BudgetExceededError } from './budget/budget-exceeded.ts';
export { JobTimeoutError, PurserError } from './errors.ts';
