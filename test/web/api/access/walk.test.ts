/** Every endpoint, walked from the document with every role, without a login, and with limited tokens. */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { hasRole, roles } from '../../../../src/operations/operators/roles.ts';
import type { Role } from '../../../../src/operations/operators/roles.ts';
import { bearer } from '../../access/access-fixture.ts';
import { startFixture } from '../../web-fixture.ts';
import type { WebFixture } from '../../web-fixture.ts';
import { askWith, program } from '../api-fixture.ts';
import type { Ask, Json } from '../api-fixture.ts';
import { arrange, payloadCanary, requests, resultCanary } from './arranged.ts';
import { changesOf, operationsOf, send } from './walked.ts';
import type { Operation } from './walked.ts';
import type { ArrangedTenant } from './arranged.ts';

/** Hundreds of requests. */
const walkMs = 120_000;

let fixture: WebFixture;
let operations: Operation[];
/** Of the tenant that limited tokens may use, and of another one. */
let mine: ArrangedTenant;
let other: ArrangedTenant;
const byRole = new Map<Role, Ask>();
beforeAll(async () => {
  fixture = await startFixture(undefined, {
    handlers: join(import.meta.dirname, 'handlers.mjs'),
  });
  [mine, other] = [await arrange(fixture), await arrange(fixture)];
  for (const role of roles) byRole.set(role, await program(fixture, role));
  operations = await operationsOf(askAs('viewer'));
});
afterAll(() => fixture.close());

const askAs = (role: Role): Ask => {
  const ask = byRole.get(role);
  if (ask === undefined) throw new Error(`no program of role ${role}`);
  return ask;
};

const changes = (): Promise<string> => changesOf(fixture);

it(
  'the walk has a request for every endpoint, and no other',
  () => {
    expect(operations.map(({ id }) => id).toSorted()).toEqual(Object.keys(requests).toSorted());
  },
  walkMs,
);

it(
  'no login and forged tokens are refused everywhere, with a problem, and nothing changes',
  async () => {
    const before = await changes();
    const strangers: Record<string, string>[] = [
      {},
      bearer(`purser_${'A'.repeat(43)}`),
      bearer('x'),
      { cookie: `purser_session=${'A'.repeat(43)}`, origin: fixture.url },
      { authorization: 'Basic b3BlcmF0b3I6d3Jvbmc=', origin: fixture.url },
    ];
    for (const { id } of operations) {
      for (const headers of strangers.slice(0, id === 'listJobs' ? 5 : 4)) {
        const answer = await send(askWith(fixture, headers), id, other);
        expect([id, headers, answer.status]).toEqual([id, headers, 401]);
        expect(answer.headers.get('content-type')).toBe('application/problem+json');
        expect(answer.headers.get('www-authenticate')).toBe('Bearer realm="Purser"');
        expect(answer.json).toMatchObject({ status: 401, code: 'login_required' });
      }
    }
    expect(await changes()).toBe(before);
  },
  walkMs,
);

it(
  'a lower role is refused, and nothing changes',
  async () => {
    const before = await changes();
    let refused = 0;
    for (const { id, role } of operations) {
      for (const lower of roles.filter((each) => !hasRole(each, role))) {
        const answer = await send(askAs(lower), id, other);
        expect([id, lower, answer.status, answer.json.code]).toEqual([id, lower, 403, 'forbidden']);
        refused += 1;
      }
    }
    expect(refused).toBeGreaterThan(15);
    expect(await changes()).toBe(before);
  },
  walkMs,
);

it(
  'a token that is limited to another tenant or type reads nothing of this one and changes nothing',
  async () => {
    const tokens = [
      { tenants: [mine.tenantId] },
      { jobTypes: [mine.jobType] },
      { tenants: [mine.tenantId], jobTypes: [mine.jobType] },
    ];
    const names = [
      other.tenantId,
      other.jobType,
      other.waiting,
      other.deadLetter,
      other.unknownCall,
    ];
    for (const limits of tokens) {
      const limited = await program(fixture, 'admin', limits);
      for (const { id, isRead, limitedTokens } of operations) {
        const isOfType = limits.tenants === undefined;
        const before = await changes();
        const answer = await send(limited, id, other);
        expect([id, limits, answer.status < 500]).toEqual([id, limits, true]);
        const mustRefuse = limitedTokens === 'refused' || (!isRead && answer.status !== 404);
        expect([id, limits, answer.status]).toEqual([id, limits, mustRefuse ? 403 : answer.status]);
        // Tenants are no secret of a token that is limited to types.
        const isOpen = isOfType && id === 'listTenants';
        const secrets = isOfType ? names.slice(1) : names;
        const told =
          answer.status === 200 && !isOpen
            ? secrets.filter((name) => answer.text.includes(JSON.stringify(name)))
            : [];
        expect([id, limits, told]).toEqual([id, limits, []]);
        expect([id, limits, await changes()]).toEqual([id, limits, before]);
      }
    }
  },
  walkMs,
);

it(
  'a job of another tenant is answered as one that is not there',
  async () => {
    const limited = await program(fixture, 'admin', { tenants: [mine.tenantId] });
    for (const [path, id] of [
      ['/jobs/ID', other.deadLetter],
      ['/jobs/ID/why', other.deadLetter],
      ['/dead-letters/ID', other.deadLetter],
      ['/batches/ID', other.batch],
    ] as const) {
      const [theirs, nobodys] = await Promise.all(
        [id, '999999999'].map((each) => limited(path.replace('ID', each))),
      );
      expect([path, theirs?.status, nobodys?.status]).toEqual([path, 404, 404]);
      expect(theirs?.json.detail.replace(/\d+/, 'ID')).toBe(
        nobodys?.json.detail.replace(/\d+/, 'ID'),
      );
    }
  },
  walkMs,
);

it(
  'a limited token does for its tenant what the others may',
  async () => {
    const own = await arrange(fixture);
    const limited = await program(fixture, 'admin', { tenants: [own.tenantId] });
    for (const { id, limitedTokens } of operations) {
      const answer = await send(limited, id, own);
      const expected = limitedTokens === 'refused' ? [403] : [200, 201, 202];
      expect([id, answer.status, expected.includes(answer.status) ? '' : answer.text]).toEqual([
        id,
        answer.status,
        '',
      ]);
    }
    const listed = await limited('/jobs?limit=200');
    expect(listed.json.items.length).toBeGreaterThan(5);
    expect(new Set(listed.json.items.map((job: Json) => job.tenantId))).toEqual(
      new Set([own.tenantId]),
    );
    expect((await limited('/tenants')).json.items).toHaveLength(1);
  },
  walkMs,
);

it(
  'the lowest role that an endpoint asks for may use it, and its acts are on record by this door',
  async () => {
    const walked = await arrange(fixture);
    for (const { id, role } of operations) {
      const answer = await send(askAs(role), id, walked);
      expect([id, answer.status < 300 ? '' : answer.text]).toEqual([id, '']);
    }
    const acts = await fixture.database.system<{ act: string; proof: string; door: string }[]>`
    select distinct act, proof, door from operator_acts
    where door <> 'cli' and tenant_id = ${walked.tenantId} or target->'workers' ? ${walked.worker} order by act`;
    expect(acts.map(({ act }) => act)).toEqual([
      'batch_preview',
      'batch_resume',
      'batch_start',
      'batch_stop',
      'batch_undo',
      'budget_resolve',
      'budget_set',
      'budget_top_up',
      'cancel',
      'discard',
      'drain',
      'drain_undo',
      'pause',
      'replay',
      'replay_edited',
      'resume',
      'schedule_pause',
      'schedule_resume',
      'schedule_run',
      'stop',
    ]);
    expect(new Set(acts.map(({ proof, door }) => `${proof} ${door}`))).toEqual(
      new Set(['token api']),
    );
  },
  walkMs,
);

it(
  'payloads and results are for operators, in no list and on no other page',
  async () => {
    const walked = await arrange(fixture);
    for (const role of ['viewer', 'operator'] as const) {
      const shown: string[] = [];
      for (const { id } of operations.filter(({ isRead }) => isRead)) {
        const { status, text } = await send(askAs(role), id, walked);
        expect([id, status]).toEqual([id, 200]);
        if (text.includes(payloadCanary) || text.includes(resultCanary)) shown.push(id);
      }
      expect([role, shown]).toEqual([role, role === 'viewer' ? [] : ['getJob', 'getDeadLetter']]);
    }
  },
  walkMs,
);
