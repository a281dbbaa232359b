/** The commands of docs/api.md do what the page says. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { registerJobTypes } from '../../../../src/jobs/registration.ts';
import { makeToken } from '../../access/access-fixture.ts';
import { startFixture } from '../../web-fixture.ts';
import type { WebFixture } from '../../web-fixture.ts';

const page = readFileSync(join(import.meta.dirname, '../../../../docs/api.md'), 'utf8');
const commands = [...page.matchAll(/```sh\n([\s\S]*?)```/g)]
  .flatMap(([, block = '']) => block.replaceAll('\\\n', ' ').split('\n'))
  .filter((line) => line !== '');

let fixture: WebFixture;
let token: string;
beforeAll(async () => {
  fixture = await startFixture();
  const { system } = fixture.database;
  await registerJobTypes(system, [
    {
      type: 'send_report',
      timeoutMs: 1_000,
      maxAttempts: 3,
      onBudget: 'park',
      giveUpAfterMs: 60_000,
      payloadSchema: {},
    },
  ]);
  await system`insert into tenants (id) values ('acme')`;
  token = await makeToken(fixture, { role: 'operator' });
});
afterAll(() => fixture.close());

async function run(command: string): Promise<unknown> {
  const { stdout } = await promisify(execFile)('sh', ['-c', command], {
    env: { PATH: process.env['PATH'], PURSER_URL: fixture.url, PURSER_TOKEN: token },
  });
  return JSON.parse(stdout);
}

it('enqueue once, list and ask why', async () => {
  expect(commands).toHaveLength(3);
  const [enqueue = '', list = '', why = ''] = commands;
  const first = await run(enqueue);
  expect(first).toMatchObject({ created: true, warning: expect.stringContaining('send_report') });
  expect(await run(enqueue)).toEqual(first);
  expect(await run(list.replace('state=failed', 'state=pending'))).toMatchObject({
    items: [{ tenantId: 'acme', jobType: 'send_report' }],
    next: null,
  });
  expect(await run(list)).toEqual({ items: [], next: null });
  expect(await run(why)).toMatchObject({ causes: expect.arrayContaining([expect.anything()]) });
});

it('the page names every path of the document', async () => {
  const document = JSON.parse(
    readFileSync(join(import.meta.dirname, '../../../../docs/openapi.json'), 'utf8'),
  ) as { paths: Record<string, unknown> };
  const last = Object.keys(document.paths).map((path) => path.split('/').at(-1) ?? '');
  expect(last.filter((part) => !page.includes(part))).toEqual([]);
});
