/** What a token that is limited to job types, to tenants, or to both may name. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startFixture } from '../../web-fixture.ts';
import type { WebFixture } from '../../web-fixture.ts';
import { program } from '../api-fixture.ts';
import type { Ask } from '../api-fixture.ts';
import { arrange } from './arranged.ts';
import type { ArrangedTenant } from './arranged.ts';

let fixture: WebFixture;
let own: ArrangedTenant;
let other: ArrangedTenant;
let ofTypes: Ask;
let ofTenants: Ask;
let ofBoth: Ask;
beforeAll(async () => {
  fixture = await startFixture();
  [own, other] = [await arrange(fixture), await arrange(fixture)];
  const [tenants, jobTypes] = [[own.tenantId], [own.jobType]];
  ofTypes = await program(fixture, 'admin', { jobTypes });
  ofTenants = await program(fixture, 'admin', { tenants });
  ofBoth = await program(fixture, 'admin', { tenants, jobTypes });
});
afterAll(() => fixture.close());

it('the money of a tenant is not of a token that is limited to types', async () => {
  const path = `/tenants/${own.tenantId}/budget`;
  for (const ask of [ofTypes, ofBoth]) {
    expect((await ask('/budgets')).status).toBe(403);
    expect((await ask(path)).status).toBe(403);
  }
  expect((await ofTenants(path)).status).toBe(200);
  expect((await ofTenants('/budgets')).json.items).toHaveLength(1);
});

it('a pause is within the limits where all its jobs are', async () => {
  const statuses = async (ask: Ask) => {
    const found: number[] = [];
    for (const target of [
      { scope: 'all' },
      { scope: 'tenant', name: own.tenantId },
      { scope: 'job_type', name: own.jobType },
    ]) {
      found.push((await ask('/pauses', { body: { ...target, reason: 'quiet' } })).status);
    }
    return found;
  };
  expect(await statuses(ofBoth)).toEqual([403, 403, 403]);
  expect(await statuses(ofTenants)).toEqual([403, 200, 403]);
  expect(await statuses(ofTypes)).toEqual([403, 403, 200]);
  expect((await ofTenants('/pauses')).json.items).toMatchObject([{ name: own.tenantId }]);
  await fixture.database.system`delete from pauses`;
});

it('why is asked for what the token is limited to, and names no worker and no other type', async () => {
  expect((await ofTenants('/why')).status).toBe(403);
  expect((await ofTypes(`/why?tenant=${own.tenantId}`)).status).toBe(403);
  expect((await ofBoth(`/why?tenant=${own.tenantId}&type=${own.jobType}`)).status).toBe(200);
  const limited = await ofTenants(`/jobs/${own.waiting}/why`);
  expect(limited.json.causes[0].code).toBe('no_scheduler');
  for (const name of [own.worker, other.worker, other.jobType, 'facts', 'lift']) {
    expect([name, limited.text.includes(name)]).toEqual([name, false]);
  }
  const whole = await (await program(fixture, 'viewer'))(`/jobs/${own.waiting}/why`);
  expect(whole.json.causes[0]).toHaveProperty('says');
});

it('a schedule is named with a tenant, and a batch with all that limits the token', async () => {
  const path = `/schedules/${own.jobType}/pause`;
  expect((await ofTenants(path, { body: { reason: 'quiet' } })).status).toBe(403);
  expect((await ofTypes(path, { body: { reason: 'quiet' } })).status).toBe(200);
  const preview = async (ask: Ask, filter: object) =>
    (await ask('/batches', { body: { act: 'discard', filter } })).status;
  expect(await preview(ofBoth, { tenant: own.tenantId })).toBe(403);
  expect(await preview(ofBoth, { tenant: own.tenantId, type: own.jobType })).toBe(201);
  expect(await preview(ofTypes, {})).toBe(403);
});

it('the first time of a failure is that of the jobs that the token may see', async () => {
  const { system } = fixture.database;
  await system`
    update purser.failures set at = now() - interval '9 days', fingerprint = 'shared'
    where tenant_id = ${other.tenantId}`;
  await system`update purser.failures set fingerprint = 'shared' where tenant_id = ${own.tenantId}`;
  await system`update purser.dead_letters set fingerprint = 'shared'`;
  const groups = async (ask: Ask) => (await ask('/dead-letters/groups')).json.groups;
  const [mine] = await groups(ofTenants);
  expect([mine.count, Date.parse(mine.firstSeen) > Date.now() - 86_400_000]).toEqual([4, true]);
});
