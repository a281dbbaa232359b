/**
 * The public entry of the package: accept work from your own code, and define handlers.
 */
export { enqueue, enqueueMany } from './handlers/client.ts';
export type { EnqueueKeys, EnqueueManyOptions, EnqueueOptions } from './handlers/client.ts';
export type { Connection } from './jobs/connection.ts';
export type { Enqueued } from './jobs/enqueue.ts';
export { defineHandler } from './handlers/define.ts';
export { defineSchedule } from './schedules/define.ts';
export type { ScheduleDefinition } from './schedules/define.ts';
export { secret } from './handlers/secret.ts';
export type { Handler, HandlerDefinition, JobContext, PlainHandler } from './handlers/define.ts';
export type { LookUpUsage, UnknownCall } from './handlers/usage-look-up.ts';
export type { LlmAnswer, LlmRequest, LlmStream } from './llm/llm.ts';
export type { LlmDefaults } from './llm/ladder/defaults.ts';
export type { LlmTool } from './llm/prompt/conversation.ts';
export type { LlmMessage, LlmToolCall } from './llm/prompt/messages.ts';
export { cancel, done, park, retry, snooze } from './handlers/outcome.ts';
export type { Outcome } from './handlers/outcome.ts';
export { openKeyring } from './crypto/open-keyring.ts';
export type { EncryptionKeyManager } from './crypto/keyring.ts';
export type { EncryptionContext } from './crypto/context.ts';
export { keyVersionToWrite } from './jobs/key-versions.ts';
export type { BacklogFullDetails } from './db/guard/backlog-full.ts';
export { BudgetExceededError } from './budget/budget-exceeded.ts';
export { JobTimeoutError, PurserError } from './errors.ts';
