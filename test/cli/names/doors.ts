/** How each door of src/names.ts is tried: with one name, resolving to the text of its refusal, if it refuses. */
import { newName } from '../../../src/cli/commands/access/new-name.ts';
import { byName } from '../../../src/cli/terminal/operator-options.ts';
import type { Invocation } from '../../../src/cli/terminal/command.ts';
import { ensureTenant } from '../../../src/cli/runtime/ensure-tenant.ts';
import { loadConfig } from '../../../src/config.ts';
import { checkSource } from '../../../src/costs/uploads/uploads.ts';
import type { Sql } from '../../../src/db/connect.ts';
import { messageOf } from '../../../src/errors.ts';
import { defineHandler } from '../../../src/handlers/define.ts';
import { checkCall } from '../../../src/llm/check-call.ts';
import { setJobLimit } from '../../../src/jobs/limits/job-limits.ts';
import { checkRequest } from '../../../src/jobs/request.ts';
import { isStorable } from '../../../src/names.ts';
import { defineSchedule } from '../../../src/schedules/define.ts';
import { z } from 'zod';
import type { Invoke } from '../in-process.ts';

export interface DoorContext {
  readonly sql: Sql;
  readonly invoke: Invoke;
  readonly folder: string;
}

type Door = (context: DoorContext, name: string) => Promise<string | undefined>;

const of =
  (run: (context: DoorContext, name: string) => unknown): Door =>
  async (context, name) => {
    try {
      await run(context, name);
      return undefined;
    } catch (error) {
      return messageOf(error);
    }
  };

/** A command refuses the name if its error is about `thing`. */
const command =
  (thing: string, args: (name: string, folder: string) => string[]): Door =>
  async ({ invoke, folder }, name) => {
    const { code, err } = await invoke(...args(name, folder));
    return code !== 0 && err.includes(thing) ? err : undefined;
  };

/** In a transaction that is rolled back, with a tenant `t`. */
const column = (insert: (tx: Sql, name: string) => PromiseLike<unknown>): Door =>
  of(async ({ sql }, name) => {
    class Taken extends Error {}
    await sql
      .begin(async (tx) => {
        await insert(tx as unknown as Sql, name);
        throw new Taken();
      })
      .catch((error: unknown) => {
        if (!(error instanceof Taken)) throw error;
      });
  });

const variable = (name: string): Door =>
  of((_context, value) => {
    // A variable without a value is not set.
    if (value === '') throw new Error(`${name} is not set`);
    return loadConfig({
      DASHBOARD_PASSWORD: 'correct horse',
      DASHBOARD_USER: 'me',
      [name]: value,
    });
  });

export const triedDoors: Readonly<Record<string, Door>> = {
  'cli/commands/tenants.ts add': command('tenant id', (name) => ['tenants', 'add', '--', name]),
  'cli/runtime/ensure-tenant.ts ensureTenant': of(async ({ sql }, name) => {
    if (isStorable(name)) await sql`delete from tenants where id = ${name}`;
    return ensureTenant(sql, name, { create: true });
  }),
  'handlers/define.ts defineHandler': of((_context, type) =>
    defineHandler({
      type,
      timeoutMs: 1,
      maxAttempts: 1,
      payload: z.object({}),
      run: () => Promise.resolve(),
    }),
  ),
  'schedules/define.ts defineSchedule': of((_context, jobType) =>
    defineSchedule({ jobType, cron: '0 3 * * *' }),
  ),
  'cli/commands/handlers.ts create': command('job type', (name, folder) => [
    'handlers',
    'new',
    '--dir',
    folder,
    '--',
    name,
  ]),
  'cli/terminal/operator-options.ts byName': of((_context, name) =>
    byName({ value: () => name } as unknown as Invocation),
  ),
  'cli/commands/accounts.ts nameOf': command('account name', (name) => [
    'accounts',
    'add',
    '--tenant=t',
    '--account-id=123456789012',
    `--name=${name}`,
  ]),
  'cli/commands/prices/scope.ts modelOf': command('model name', (name) => [
    'prices',
    'clear',
    '--reason=x',
    `--model=${name}`,
  ]),
  'costs/uploads/uploads.ts checkSource': of((_context, name) => checkSource(name)),
  'jobs/request.ts checkRequest': of((_context, group) =>
    checkRequest({ jobType: 'known_type', group }),
  ),
  'llm/check-call.ts checkModel': of((_context, model) =>
    checkCall({ system: '', prompt: '', model, maxOutputTokens: 1 }),
  ),
  'cli/commands/access/new-name.ts newName': of((_context, name) => newName(name)),
  DASHBOARD_USER: variable('DASHBOARD_USER'),
  LLM_MODEL: variable('LLM_MODEL'),
  'public.tenants.id': column(async (tx, name) => {
    await tx`delete from tenants where id = ${name}`;
    await tx`insert into tenants (id) values (${name})`;
  }),
  'public.plans.plan': column((tx, name) => tx`insert into plans values (${name}, 1)`),
  'public.job_types.job_type': column(
    (tx, name) =>
      tx`insert into job_types (job_type, timeout_ms, max_attempts) values (${name}, 1, 1)`,
  ),
  'public.schedules.cohort': column(
    (tx, name) => tx`
      insert into schedules (job_type, cohort, cron) values ('known_type', ${name}, '0 * * * *')`,
  ),
  'public.schedules.paused_by': column(
    (tx, name) => tx`
      insert into schedules (job_type, cohort, cron, paused_by)
      values ('known_type', 'active', '0 * * * *', ${name})`,
  ),
  'public.tenant_schedules.paused_by': column(
    (tx, name) => tx`
      insert into tenant_schedules (tenant_id, job_type, paused_by) values ('t', 'known_type', ${name})`,
  ),
  'public.operator_acts.operator': column(
    (tx, name) => tx`
      insert into operator_acts (operator, proof, door, act) values (${name}, 'asserted', 'cli', 'test')`,
  ),
  'purser.batches.by': column(
    (tx, name) => tx`
      insert into purser.batches (act, filter, by, proof, door, expires_at)
      values ('replay', '{}', ${name}, 'asserted', 'cli', now())`,
  ),
  'public.pauses.by': column(
    (tx, name) => tx`
      insert into pauses (scope, name, reason, by) values ('tenant', 't', 'x', ${name})`,
  ),
  'public.job_limits.by': column(
    (tx, name) => tx`
      insert into job_limits (tenant_id, max_running, by) values ('t', 1, ${name})`,
  ),
  'jobs/limits/job-limits.ts checkGroupName': of(({ sql }, name) =>
    setJobLimit(sql, { group: name }, { maxRunning: 1, by: 'test' }),
  ),
  'public.aws_accounts.account_id': column(
    (tx, name) => tx`
      insert into aws_accounts (tenant_id, account_id, credentials, encryption_key_version)
      values ('t', ${name}, 'x', 1)`,
  ),
  'public.aws_accounts.name': column(
    (tx, name) => tx`
      insert into aws_accounts (tenant_id, account_id, name, credentials, encryption_key_version)
      values ('t', 'x', ${name}, 'x', 1)`,
  ),
  'public.api_integrations.kind': column(
    (tx, name) => tx`
      insert into api_integrations (tenant_id, kind, name, credentials, encryption_key_version)
      values ('t', ${name}, 'x', 'x', 1)`,
  ),
  'public.api_integrations.name': column(
    (tx, name) => tx`
      insert into api_integrations (tenant_id, kind, name, credentials, encryption_key_version)
      values ('t', 'x', ${name}, 'x', 1)`,
  ),
  'public.ingest_uploads.source': column(
    (tx, name) => tx`
      insert into ingest_uploads (tenant_id, source, file_name, file_hash)
      values ('t', ${name}, 'x', repeat('0', 64))`,
  ),
  'public.llm_price_versions.model': column(
    (tx, name) => tx`
      insert into llm_prices (model, input_usd_per_mtok, output_usd_per_mtok) values (${name}, 1, 1)`,
  ),
  'public.llm_provider_keys.set_by': column(
    (tx, name) => tx`
      insert into llm_provider_keys (tenant_id, provider, api_key, encryption_key_version, last_four, set_by)
      values ('t', 'openai', 'x', 1, 'last', ${name})`,
  ),
  'public.operators.name': column(
    (tx, name) => tx`
      insert into operators (name, role, password_hash) values (${name}, 'viewer', 'scrypt$')`,
  ),
  'public.api_tokens.name': column(
    (tx, name) => tx`
      insert into api_tokens (name, role, token_hash, expires_at)
      values (${name}, 'viewer', sha256('x'), now())`,
  ),
  'public.llm_price_versions.by': column(
    (tx, name) => tx`
      insert into llm_price_versions (source, model, by, reason) values ('operator', 'm', ${name}, 'x')`,
  ),
};
