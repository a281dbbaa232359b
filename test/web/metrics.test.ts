import { randomUUID } from 'node:crypto';
import { Gauge } from 'prom-client';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { removeHeartbeat, writeHeartbeat } from '../../src/db/heartbeats.ts';
import { enqueue } from '../../src/jobs/enqueue.ts';
import { createMetrics } from '../../src/metrics.ts';
import { startWeb } from '../../src/web/web.ts';
import { credentials, startFixture } from './web-fixture.ts';
import type { WebFixture } from './web-fixture.ts';

let fixture: WebFixture;
beforeAll(async () => {
  fixture = await startFixture();
});
afterAll(() => fixture.close());

const beatOf = async (processId: string, metrics: readonly object[]): Promise<unknown> =>
  writeHeartbeat(fixture.database.system, {
    processId,
    role: 'worker',
    version: '1',
    hostname: 'host',
    pid: 1,
    jobTypes: ['report'],
    typeSlots: [5],
    slots: 1,
    running: 0,
    progressedAt: new Date(),
    metrics,
  });

/** The value of the sample of this name whose labels are among these, or undefined. */
async function sample(name: string, labels: Record<string, string>): Promise<number | undefined> {
  const page = await (await fixture.request('/metrics')).text();
  const line = page
    .split('\n')
    .find(
      (text) =>
        (text.startsWith(`${name}{`) || text.startsWith(`${name} `)) &&
        Object.entries(labels).every(([key, value]) => text.includes(`${key}="${value}"`)),
    );
  return line === undefined ? undefined : Number(line.slice(line.lastIndexOf(' ') + 1));
}
const wait = { timeout: 15_000, interval: 300 };

it('shows the counters of every live process, each under its own name', async () => {
  for (const [processId, attempts] of [
    ['worker-a', 3],
    ['worker-b', 4],
  ] as const) {
    const metrics = createMetrics();
    metrics.attempts.inc({ job_type: 'report', end: 'completed' }, attempts);
    metrics.jobSeconds.observe({ job_type: 'report' }, 0.2);
    // An older release of a role may still send what web now reads from the table itself.
    const registers = [metrics.registry];
    new Gauge({ name: 'purser_jobs', help: 'old', labelNames: ['state'], registers }).set(
      { state: 'pending' },
      999,
    );
    await beatOf(processId, await metrics.registry.getMetricsAsJSON());
  }
  fixture.metrics.llmCalls.inc({ status: 'ok' });
  await expect
    .poll(() => sample('job_attempts_total', { process: 'worker-a', end: 'completed' }), wait)
    .toBe(3);
  await expect
    .poll(() => sample('job_attempts_total', { process: 'worker-b', role: 'worker' }), wait)
    .toBe(4);
  await expect
    .poll(() => sample('job_execution_duration_seconds_count', { process: 'worker-a' }), wait)
    .toBe(1);
  await expect
    .poll(
      () => sample('job_execution_duration_seconds_bucket', { process: 'worker-a', le: '0.1' }),
      wait,
    )
    .toBe(0);
  await expect
    .poll(
      () => sample('job_execution_duration_seconds_bucket', { process: 'worker-a', le: '0.5' }),
      wait,
    )
    .toBe(1);
  await expect
    .poll(() => sample('llm_api_calls_total', { role: 'web', status: 'ok' }), wait)
    .toBe(1);
  await expect.poll(() => sample('purser_processes', { role: 'worker' }), wait).toBe(2);
  await expect.poll(() => sample('purser_processes', { role: 'web' }), wait).toBe(1);
  await expect.poll(() => sample('purser_processes', { role: 'scheduler' }), wait).toBe(0);
  await expect.poll(() => sample('build_info', { version: '1.2.3' }), wait).toBe(1);
});

it('leaves out processes without a recent heartbeat', async () => {
  await fixture.database.system`
    update heartbeats set beat_at = now() - interval '1 minute' where process_id = 'worker-b'`;
  await expect
    .poll(() => sample('job_attempts_total', { process: 'worker-b' }), wait)
    .toBe(undefined);
  await expect.poll(() => sample('purser_processes', { role: 'worker' }), wait).toBe(1);
});

it("reads the fleet's numbers from the stores, not from a process", async () => {
  const runAt = new Date(Date.now() - 90_000);
  await enqueue(fixture.database.system, { tenantId: fixture.tenantId, jobType: 'report', runAt });
  await fixture.transport.add([{ jobId: '5', jobType: 'report', entryId: randomUUID() }]);
  await expect.poll(() => sample('purser_jobs', { state: 'pending' }), wait).toBe(1);
  await expect.poll(() => sample('purser_jobs', { state: 'completed' }), wait).toBe(0);
  await expect
    .poll(() => sample('purser_queue_entries', { queue: 'report', state: 'waiting' }), wait)
    .toBe(1);
  await expect
    .poll(() => sample('purser_queue_entries', { queue: 'dead-letter', state: 'delayed' }), wait)
    .toBe(0);
  expect(await sample('purser_oldest_waiting_job_seconds', {})).toBeGreaterThanOrEqual(90);
});

it('leaves out metrics of another version that it cannot parse', async () => {
  await beatOf('worker-odd', [
    { name: 'odd' },
    { name: 'bad name', help: '', type: 'counter', values: [], aggregator: 'sum' },
    { name: 'later_total', help: 'new', type: 'counter', values: [{ value: 2, labels: {} }] },
  ]);
  await expect.poll(() => sample('later_total', { process: 'worker-odd' }), wait).toBe(2);
  await expect.poll(() => sample('odd', {}), wait).toBe(undefined);
  await removeHeartbeat(fixture.database.system, 'worker-odd');
});

it('is valid for Prometheus: one TYPE per name, no sample twice', async () => {
  const answer = await fixture.request('/metrics');
  expect(answer.headers.get('content-type')).toContain('text/plain; version=0.0.4');
  const lines = (await answer.text()).split('\n').filter((line) => line !== '');
  const types = lines.filter((line) => line.startsWith('# TYPE '));
  const series = lines
    .filter((line) => !line.startsWith('#'))
    .map((line) => line.slice(0, line.lastIndexOf(' ')));
  expect(new Set(types).size).toBe(types.length);
  expect(new Set(series).size).toBe(series.length);
  for (const line of lines) {
    expect(line).toMatch(/^(# (HELP|TYPE) |[a-z_:]+(\{.*\})? [-+0-9.eNaInf]+$)/);
  }
});

it('shows a second web process, and removes its heartbeat when it stops', async () => {
  const second = await startWeb({
    ...fixture,
    jobTypes: () => Promise.resolve([]),
    credentials,
    log: fixture.log,
    version: '1',
    host: '127.0.0.1',
    port: 0,
  });
  await expect.poll(() => sample('purser_processes', { role: 'web' }), wait).toBe(2);
  await second.stop();
  await expect.poll(() => sample('purser_processes', { role: 'web' }), wait).toBe(1);
});

it('says which port is taken', async () => {
  const port = fixture.web.port;
  await expect(
    startWeb({
      ...fixture,
      jobTypes: () => Promise.resolve([]),
      credentials,
      log: fixture.log,
      version: '1',
      host: '127.0.0.1',
      port,
    }),
  ).rejects.toMatchObject({ code: 'port_unavailable', exitCode: 69 });
});
