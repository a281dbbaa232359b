/** /events: changes reach open pages, one poller asks for all, and a stream outlives neither its login nor the process. */
import { once } from 'node:events';
import { get } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readVersion } from '../../../src/operations/now/version.ts';
import { startWeb } from '../../../src/web/web.ts';
import type { WebService } from '../../../src/web/web.ts';
import { addOperators, browserOf, makeToken } from '../access/access-fixture.ts';
import { addJob, addJobType, eventually } from '../../jobs/job-steps.ts';
import { credentials, startFixture } from '../web-fixture.ts';
import type { WebFixture } from '../web-fixture.ts';

let fixture: WebFixture;
let web: WebService | undefined;
let questions = 0;
let cookie: string;

/** Another web process on the same database, with short paces, of which the questions of the poller are counted. */
async function startLive(paces: { pollMs: number; streamMs: number }): Promise<string> {
  const { database, backend, transport, metrics, log, payloads } = fixture;
  const system = new Proxy(database.system, {
    apply: (sql, self, args: readonly unknown[]) => {
      if (Array.isArray(args[0]) && args[0].join('').includes('select md5(concat_ws'))
        questions += 1;
      return Reflect.apply(sql, self, args) as unknown;
    },
  });
  web = await startWeb({
    database: { ...database, system },
    backend,
    transport,
    metrics,
    log,
    credentials,
    payloads,
    jobTypes: () => Promise.resolve([]),
    version: '1.2.3',
    host: '127.0.0.1',
    port: 0,
    livePaces: paces,
  });
  return `http://127.0.0.1:${web.port}`;
}

beforeEach(async () => {
  fixture = await startFixture();
  await addOperators(fixture);
  await addJobType(fixture.database.system);
  const browser = await browserOf(fixture, 'viewer');
  cookie = `purser_session=${browser.cookie('purser_session') ?? ''}`;
  questions = 0;
});
afterEach(async () => {
  await web?.stop();
  web = undefined;
  await fixture.close();
});

interface Stream {
  readonly response: IncomingMessage;
  readonly events: string[];
  readonly ended: Promise<void>;
  close(): void;
}

async function openStream(
  url: string,
  headers: Record<string, string> = { cookie },
): Promise<Stream> {
  const request = get(`${url}/events`, { headers });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const events: string[] = [];
  response.setEncoding('utf8');
  response.on('data', (text: string) => {
    for (const [, version = ''] of text.matchAll(/event: version\ndata: (\w+)/g))
      events.push(version);
  });
  const ended = new Promise<void>((resolve) => {
    response.once('close', () => resolve());
  });
  return { response, events, ended, close: () => request.destroy() };
}

const changes = ({ events }: Stream, count: number): Promise<true> =>
  eventually(`${count} versions`, () => Promise.resolve(events.length >= count ? true : undefined));

it('tells of a change once, to every stream, by one poller', async () => {
  const url = await startLive({ pollMs: 50, streamMs: 60_000 });
  const streams = await Promise.all(Array.from({ length: 20 }, () => openStream(url)));
  for (const stream of streams) await changes(stream, 1);
  await addJob(fixture.database.system, fixture.tenantId);
  for (const stream of streams) await changes(stream, 2);
  const asked = questions;
  await sleep(500);
  // Twenty pollers would have asked two hundred times.
  expect(questions - asked).toBeLessThanOrEqual(12);
  expect(streams.map(({ events }) => events.length)).toEqual(streams.map(() => 2));
  expect(streams[0]?.response.headers['content-type']).toContain('text/event-stream');
  for (const stream of streams) stream.close();
  await eventually('no more questions', async () => {
    const before = questions;
    await sleep(300);
    return questions === before ? true : undefined;
  });
});

it('a stream ends by itself, and the next one is refused where the session has ended', async () => {
  const url = await startLive({ pollMs: 50, streamMs: 300 });
  const stream = await openStream(url);
  await changes(stream, 1);
  await stream.ended;
  const again = await openStream(url);
  expect(again.response.statusCode).toBe(200);
  await fixture.database.system`delete from operator_sessions`;
  await again.ended;
  const refused = await openStream(url);
  expect(refused.response.statusCode).toBe(401);
  refused.close();
});

it('is for those who may see the pages', async () => {
  const url = await startLive({ pollMs: 50, streamMs: 60_000 });
  const limited = await makeToken(fixture, { role: 'admin', tenants: [fixture.tenantId] });
  for (const [headers, status] of [
    [{}, 401],
    [{ authorization: `Bearer ${limited}` }, 403],
    [{ authorization: `Bearer ${await makeToken(fixture)}` }, 200],
  ] as const) {
    const stream = await openStream(url, headers);
    expect(stream.response.statusCode).toBe(status);
    stream.close();
  }
});

it('ends with the process, which it does not hold up', async () => {
  const url = await startLive({ pollMs: 50, streamMs: 60_000 });
  const streams = await Promise.all([openStream(url), openStream(url)]);
  for (const stream of streams) await changes(stream, 1);
  let isForced = false;
  // Within the grace of open requests, after which connections are destroyed.
  const stopped = web?.stop();
  for (const { response } of streams) response.once('error', () => (isForced = true));
  await Promise.all([stopped, ...streams.map(({ ended }) => ended)]);
  web = undefined;
  expect(isForced).toBe(false);
  expect(streams.every(({ response }) => response.complete)).toBe(true);
});

it('goes on after the database was away', async () => {
  const url = await startLive({ pollMs: 50, streamMs: 60_000 });
  const stream = await openStream(url);
  await changes(stream, 1);
  const { system } = fixture.database;
  await system`alter table purser.fleet_samples rename to fleet_samples_away`;
  await eventually('a warning', () =>
    Promise.resolve(
      fixture.logged.some((line) => line.includes('changes_not_read')) ? true : undefined,
    ),
  );
  await system`alter table purser.fleet_samples_away rename to fleet_samples`;
  const before = stream.events.length;
  await addJob(system, fixture.tenantId);
  await changes(stream, before + 1);
  expect(stream.response.complete).toBe(false);
  stream.close();
});

describe('the version', () => {
  it('changes with jobs, pauses and processes, and with nothing else', async () => {
    const { system } = fixture.database;
    const seen = [await readVersion(system)];
    expect(await readVersion(system)).toBe(seen[0]);
    await addJob(system, fixture.tenantId);
    seen.push(await readVersion(system));
    await system`insert into pauses (scope, name, reason, by) values ('all', '', 'x', 'y')`;
    seen.push(await readVersion(system));
    await system`delete from pauses`;
    await system`update heartbeats set beat_at = now() - interval '1 hour'`;
    seen.push(await readVersion(system));
    expect(new Set(seen).size).toBe(seen.length);
  });
});
