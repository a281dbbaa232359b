/** Tenant ids that people take for the same one are refused, whichever way the tenant is added. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { curFile } from '../../costs/exports/aws-cur/file.ts';
import { nameFault } from '../../../src/names.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { invokeWith } from '../in-process.ts';
import type { Invoke } from '../in-process.ts';

let database: TestDatabase;
let invoke: Invoke;
beforeAll(async () => {
  database = await freshDatabase();
  invoke = invokeWith({ DATABASE_URL: database.url });
});
beforeEach(async () => {
  await database.sql`delete from tenants`;
});
afterAll(() => database.close());

const pairs = [
  ['Acme', 'acme'],
  ['STRASSE', 'strasse'],
  ['\u00c9cole', '\u00e9cole'],
  ['\u0414\u043e\u043c', '\u0434\u043e\u043c'],
  ['acme', 'acme '],
  ['acme', ' acme'],
  ['acme inc', 'acmeinc'],
  ['acme inc', 'acme\u00a0inc'],
  ['acme', 'ac\u200bme'],
  ['acme', 'ac\u00adme'],
  ['acme', '\ufeffacme'],
  ['caf\u00e9', 'cafe\u0301'],
  ['acme', '\uff41\uff43\uff4d\uff45'],
  ['\ufb01nance', 'finance'],
  ['\u2168', 'ix'],
] as const;

describe('of two tenant ids that differ only in case, blanks or Unicode form', () => {
  it.each(pairs)('the second is refused: %j, %j', async (first, second) => {
    expect(await invoke('tenants', 'add', '--', first)).toMatchObject({ code: 0 });
    const refused = await invoke('tenants', 'add', '--', second);
    const [exit, says] =
      nameFault('tenant', second) === undefined
        ? [1, `too similar to tenant ${JSON.stringify(first)}`]
        : [64, 'the tenant id'];
    expect(refused).toMatchObject({ code: exit, err: expect.stringContaining(says) });
    await expect(database.sql`insert into tenants (id) values (${second})`).rejects.toMatchObject({
      code: '23505',
    });
  });

  it('one is added when both come at once', async () => {
    const added = await Promise.allSettled(
      ['acme', 'Acme', 'ACME', 'acme '].map(
        (id) => database.sql`insert into tenants (id) values (${id})`,
      ),
    );
    expect(added.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });

  it('the second is refused where a file brings it', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'purser-similar-'));
    const path = join(folder, 'many.csv');
    const rows = ['Acme', 'acme'].map((id) => ({ 'lineItem/UsageAccountId': id }));
    await writeFile(path, curFile(rows));
    const ingest = ['ingest', '--tenant-column', 'lineItem/UsageAccountId', '--create-tenants'];
    const { code, err } = await invoke(...ingest, '--file', path);
    await rm(folder, { recursive: true });
    expect([code, err]).toEqual([1, expect.stringContaining('too similar to tenant "Acme"')]);
  });
});

it('ids that differ in anything else are tenants of their own', async () => {
  const ids = [
    'acme',
    'acme-1',
    'acme_1',
    'acme.1',
    'acme1',
    'cafe',
    'caf\u00e9',
    'a/b',
    'ab',
    '1',
    '01',
  ];
  for (const id of ids) {
    expect(await invoke('tenants', 'add', '--', id)).toMatchObject({ code: 0 });
  }
});

it('an id of blanks and invisible characters only is refused', async () => {
  for (const id of ['\u00a0', '\u200b', ' \u2060 ']) {
    expect(await invoke('tenants', 'add', '--', id)).toMatchObject({ code: 64 });
    await expect(database.sql`insert into tenants (id) values (${id})`).rejects.toMatchObject({
      code: 'PU011',
    });
  }
});
