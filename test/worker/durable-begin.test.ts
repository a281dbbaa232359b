/** Whether a begin waits for the disk is a property of its job type; an end always waits. */
import { z } from 'zod';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { defineHandler } from '../../src/handlers/define.ts';
import { enqueue } from '../../src/jobs/enqueue.ts';
import { untilState } from '../jobs/job-steps.ts';
import { addTenant } from '../support/tenants.ts';
import { openFleet } from './fleet.ts';
import type { Fleet } from './fleet.ts';

let fleet: Fleet;
beforeAll(async () => {
  fleet = await openFleet(undefined);
});
afterAll(() => fleet.close());

const handlerOf = (type: string, durableBegin: boolean) =>
  defineHandler({
    type,
    timeoutMs: 5_000,
    maxAttempts: 1,
    payload: z.object({}),
    durableBegin,
    run: async () => {
      await Promise.resolve();
    },
  });

it('a begin waits for the disk where the handler asks for it, and every end does', async () => {
  const { sql } = fleet.test;
  await sql.unsafe(`
    create table public.seen_policies (job_type text, state text, policy text);
    grant all on public.seen_policies to public;
    create function purser_test_policy() returns trigger language plpgsql as $$
    begin
      insert into public.seen_policies select new.job_type, tg_argv[0],
        case when source = 'session' then setting else 'default' end
      from pg_settings where name = 'synchronous_commit';
      return new;
    end $$;
    create trigger purser_test_policy after insert on purser.waiting
    for each row execute function purser_test_policy('pending');
    create trigger purser_test_policy after insert on purser.in_flight
    for each row execute function purser_test_policy('queued');
    create trigger purser_test_begin after update of token on purser.in_flight
    for each row execute function purser_test_policy('running');
    create trigger purser_test_policy after update of outcome on public.jobs
    for each row execute function purser_test_policy('completed')`);
  await fleet.startWorker([handlerOf('lazy', false), handlerOf('durable', true)]);
  const tenantId = await addTenant(sql);
  for (const jobType of ['lazy', 'durable']) {
    const { jobId } = await enqueue(sql, { tenantId, jobType });
    await untilState(sql, jobId, 'completed');
  }
  const seen = await sql<{ line: string }[]>`
    select job_type || ' ' || state || ' ' || policy as line from public.seen_policies order by 1`;
  expect(seen.map(({ line }) => line)).toEqual([
    'durable completed default',
    'durable pending default',
    'durable queued off',
    'durable running default',
    'lazy completed default',
    'lazy pending default',
    'lazy queued off',
    'lazy running off',
  ]);
});
