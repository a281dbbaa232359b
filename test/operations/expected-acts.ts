/** What the record has of each command of the walk. */
import { expect } from 'vitest';

/** The commands of the walk that are no act, and why. */
export const noActs: Readonly<Record<string, string>> = {
  enqueue: 'the job is its own record',
  ingest: 'the upload is its own record',
};

interface ExpectedAct {
  readonly act: string;
  readonly before: unknown;
  readonly after: unknown;
  /** The acts that follow it. */
  readonly followedBy?: readonly string[];
}

const any = expect.anything();

/** By command, in the order in which the walk runs it. */
export const expectedActs: Readonly<Record<string, readonly ExpectedAct[]>> = {
  'tenants add': [{ act: 'tenant_add', before: null, after: { plan: 'pro' } }],
  'tenants set-plan': [
    { act: 'tenant_set_plan', before: { plan: 'pro' }, after: { plan: 'enterprise' } },
  ],
  'tenants set-limits': [
    { act: 'tenant_set_limits', before: { weight: null }, after: { weight: 2, maxJobs: null } },
  ],
  'tenants remove': [{ act: 'tenant_remove', before: {}, after: null }],
  'accounts add': [{ act: 'account_add', before: null, after: { name: null, keyVersion: 2 } }],
  'accounts remove': [
    { act: 'account_remove', before: { name: null, keyVersion: 1 }, after: null },
  ],
  'jobs cancel': [
    {
      act: 'cancel',
      before: { state: 'waiting' },
      after: { state: 'cancelled', requested: false },
    },
  ],
  'dlq preview': [
    {
      act: 'batch_preview',
      before: null,
      after: { state: 'previewed', jobs: any, isCut: false },
    },
  ],
  'dlq replay': [
    { act: 'replay', before: { replayedBy: null }, after: { replayedBy: any } },
    {
      act: 'batch_preview',
      before: null,
      after: { state: 'previewed', jobs: any },
      followedBy: ['batch_start'],
    },
  ],
  'dlq edit': [
    {
      act: 'replay_edited',
      before: { replayedBy: null },
      after: { replayedBy: any, changedFields: expect.arrayContaining(['periodDays']) },
    },
  ],
  'dlq batches stop': [
    { act: 'batch_stop', before: { state: 'running' }, after: { state: 'stopped' } },
  ],
  'dlq batches resume': [
    {
      act: 'batch_resume',
      before: { state: 'stopped', perSecond: 1 },
      after: { state: 'running', perSecond: 2 },
    },
  ],
  'dlq batches undo': [
    { act: 'batch_undo', before: { state: 'running' }, after: { state: 'undoing' } },
  ],
  'dlq discard': [{ act: 'discard', before: { discarded: false }, after: { discarded: true } }],
  pause: [{ act: 'pause', before: null, after: { by: 'alice', reason: 'walk' } }],
  stop: [
    {
      act: 'stop',
      before: null,
      after: { by: 'alice', reason: 'walk', running: any, queued: any },
      followedBy: ['stop_discard'],
    },
  ],
  'operators add': [{ act: 'operator_add', before: null, after: { role: 'viewer' } }],
  'operators set-role': [
    { act: 'operator_set_role', before: { role: 'viewer' }, after: { role: 'admin' } },
  ],
  'operators set-password': [{ act: 'operator_set_password', before: null, after: null }],
  'operators remove': [{ act: 'operator_remove', before: { role: 'viewer' }, after: null }],
  'operators end': [{ act: 'session_end', before: null, after: null }],
  'tokens add': [{ act: 'token_add', before: null, after: { role: 'viewer', tenants: [any] } }],
  'tokens remove': [{ act: 'token_remove', before: { role: 'viewer' }, after: null }],
  drain: [{ act: 'drain', before: { draining: false }, after: { draining: true } }],
  resume: [{ act: 'resume', before: { by: 'alice', reason: 'walk', at: any }, after: null }],
  'schedules set': [
    { act: 'schedule_set', before: { cron: any, zone: any }, after: { cron: '0 */4 * * *' } },
    { act: 'schedule_set', before: { cron: null }, after: { cron: '0 */2 * * *' } },
  ],
  'schedules pause': [
    {
      act: 'schedule_pause',
      before: [{ enabled: true, by: null }],
      after: [{ enabled: false, by: 'alice', reason: 'walk' }],
    },
    {
      act: 'schedule_pause',
      before: [{ cohort: 'dormant', enabled: true }],
      after: [{ cohort: 'dormant', enabled: false, by: 'alice' }],
    },
  ],
  'schedules resume': [
    {
      act: 'schedule_resume',
      before: [{ enabled: false, by: 'alice' }],
      after: [{ enabled: true }],
    },
    {
      act: 'schedule_resume',
      before: [{ cohort: 'dormant' }],
      after: [{ enabled: true, by: null }],
    },
  ],
  'schedules run': [{ act: 'schedule_run', before: null, after: { jobId: any } }],
  'limits set': [
    { act: 'limit_set', before: null, after: { maxRunning: 1000, maxStarts: null } },
    { act: 'plan_limit_set', before: null, after: { maxStarts: 1000, perSeconds: 86_400 } },
  ],
  'limits clear': [
    { act: 'limit_clear', before: { maxRunning: 1000 }, after: null },
    { act: 'plan_limit_clear', before: { maxStarts: 1000, perSeconds: 86_400 }, after: null },
  ],
  'queues separate': [
    { act: 'queues_separate', before: { fleetId: any }, after: { fleetId: any } },
  ],
  'budget set': [
    {
      act: 'budget_set',
      before: { monthlyLimitUsd: '100', hard: true },
      after: { monthlyLimitUsd: '5', hard: true, source: 'operator' },
    },
  ],
  'budget close': [{ act: 'month_close', before: { closed: false }, after: { closed: true } }],
  'budget top-up': [
    { act: 'budget_top_up', before: { topUpsUsd: '0' }, after: { topUpsUsd: '1' } },
  ],
  'budget resolve': [
    {
      act: 'budget_resolve',
      before: { costUsd: null },
      after: { costUsd: '1', outcome: 'settled' },
    },
  ],
  'scopes set': [
    { act: 'scope_set', before: null, after: { timeZone: 'UTC', limitUsd: '5', hard: true } },
  ],
  'scopes remove': [{ act: 'scope_remove', before: { limitUsd: '5' }, after: null }],
  'fleet-scopes set': [
    { act: 'fleet_scope_set', before: null, after: { limitUsd: '1000000', hard: true } },
  ],
  'fleet-scopes remove': [
    { act: 'fleet_scope_remove', before: { limitUsd: '1000000' }, after: null },
  ],
  'llm stop': [{ act: 'llm_stop', before: null, after: { by: 'alice', aborts: false } }],
  'llm resume': [{ act: 'llm_resume', before: { by: 'alice', reason: 'test' }, after: null }],
  'llm breakers reset': [
    { act: 'breaker_reset', before: { state: 'open' }, after: { state: 'closed' } },
  ],
  'llm keys set': [
    { act: 'llm_key_set', before: null, after: { keyVersion: 2, countsAgainstBudget: false } },
  ],
  'llm keys remove': [
    { act: 'llm_key_remove', before: { keyVersion: 1, setBy: 'test' }, after: null },
  ],
  'prices sync': [
    {
      act: 'prices_sync',
      before: expect.arrayContaining([{ version: any, rates: null }]),
      after: expect.arrayContaining([{ version: any, rates: any }]),
    },
  ],
  'prices set': [{ act: 'price_set', before: null, after: { input: { usd: '1' } } }],
  'prices clear': [{ act: 'price_clear', before: { input: { usd: '1' } }, after: null }],
  'prices rerate': [{ act: 'prices_rerate', before: any, after: any }],
  'keys rotate': [
    { act: 'keys_rotate', before: { valuesOfOtherVersions: any }, after: { jobsStarted: any } },
  ],
};
