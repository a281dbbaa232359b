/** The table of versions: what it refuses, who may use it, and the price list that stood there before. */
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { priceOf } from '../../../src/budget/prices/in-force.ts';
import { setPrice } from '../../../src/budget/prices/set.ts';
import { migrateDown, migrateUp } from '../../../src/db/migrate.ts';
import { openDatabase } from '../../../src/db/database.ts';
import { messageOf } from '../../../src/errors.ts';
import { emptyDatabase, freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { addTenant } from '../../support/tenants.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.close());

const rates = { input: { usd: '1' }, output: { usd: '2' } };
const price = { provider: null, model: 'm', rates, by: 'test', reason: 'test' };

describe('llm_price_versions', () => {
  it('takes rates as exact decimals of known form only', async () => {
    const valid = async (text: string): Promise<boolean | null> => {
      const [row] = await database.sql<{ valid: boolean | null }[]>`
        select purser.are_rates(${text}::text::jsonb) as valid`;
      return row?.valid ?? null;
    };
    const of = (input: unknown) => JSON.stringify({ input, output: { usd: '0' } });
    const good = [
      { usd: '0' },
      { usd: '999999999.000000000000000001' },
      { usd: '1', tiers: [] },
      { usd: '1', tiers: [{ aboveInputTokens: 200_000, usd: '2.5' }] },
    ];
    for (const input of good) expect([input, await valid(of(input))]).toEqual([input, true]);
    const bad = [
      ...['-1', '1e3', 'NaN', 'Infinity', '', ' 1', '.5', '1.', '1,5', '1000000000'].map((usd) => ({
        usd,
      })),
      { usd: 1 },
      { usd: null },
      {},
      null,
      '1',
      [],
      { usd: '1', tiers: {} },
      { usd: '1', tiers: [null] },
      { usd: '1', tiers: [{ usd: '2' }] },
      { usd: '1', tiers: [{ aboveInputTokens: '1', usd: '2' }] },
      { usd: '1', tiers: [{ aboveInputTokens: 1.5, usd: '2' }] },
      { usd: '1', tiers: [{ aboveInputTokens: 1, usd: 2 }] },
      { usd: '1', tiers: [{ aboveInputTokens: 1, usd: '-2' }] },
    ];
    for (const input of bad) expect([input, await valid(of(input))]).toEqual([input, false]);
    for (const text of ['{}', '[]', '1', '"x"', '{"input": {"usd": "1"}}']) {
      expect([text, await valid(text)]).toEqual([text, false]);
    }
    expect(
      await valid('{"input": {"usd": "1"}, "output": {"usd": "1"}, "In put": {"usd": "1"}}'),
    ).toBe(false);
  });

  it('is append-only, and the prices of a tenant go with the tenant', async () => {
    const tenantId = await addTenant(database.sql);
    await setPrice(database.sql, { ...price, tenantId });
    for (const statement of [
      `update llm_price_versions set model = 'x'`,
      'delete from llm_price_versions',
      'truncate llm_price_versions',
    ]) {
      await expect(database.sql.unsafe(statement)).rejects.toThrow(
        /llm_price_versions is append-only/,
      );
    }
    await database.sql`delete from tenants where id = ${tenantId}`;
    // A new tenant of this name has no price of its own.
    await database.sql`insert into tenants (id) values (${tenantId})`;
    await expect(priceOf(database.sql, { tenantId, model: 'm' })).rejects.toMatchObject({
      code: 'model_unpriced',
    });
  });

  it('is neither read nor written by a tenant', async () => {
    for (const statement of [
      'select from llm_price_versions',
      'select from llm_prices',
      `insert into llm_prices (model, input_usd_per_mtok, output_usd_per_mtok) values ('m', 0, 0)`,
    ]) {
      const run = database.sql.begin(async (tx) => {
        await tx`set local role purser_tenant`;
        await tx.unsafe(statement);
      });
      await expect(run).rejects.toThrow(/permission denied/);
    }
  });

  it('is read by one index in a few blocks, also among thousands of prices of one model', async () => {
    await database.sql`insert into tenants (id) select 'many-' || n from generate_series(1, 4000) n`;
    await database.sql`
      insert into llm_price_versions (source, tenant_id, model, rates, valid_from, by, reason)
      select 'operator', 'many-' || n, 'gpt-4o', ${JSON.stringify(rates)}::text::jsonb,
        now() - v * interval '1 day', 'test', 'test'
      from generate_series(1, 4000) n, generate_series(1, 3) v`;
    await database.sql`analyze llm_price_versions`;
    const one = await database.sql.reserve();
    const blocks = async (): Promise<number> => {
      await one`select pg_stat_force_next_flush()`;
      const [row] = await one<{ blocks: number }[]>`
        select (heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit)::int as blocks
        from pg_statio_user_tables where relname = 'llm_price_versions'`;
      return row?.blocks ?? 0;
    };
    try {
      const query = { tenantId: 'many-77', model: 'gpt-4o', baseUrl: 'https://api.openai.com/v1' };
      // Enough for the plan that the driver's prepared statement keeps.
      for (let at = 0; at < 8; at += 1) await priceOf(one, query);
      const before = await blocks();
      for (let at = 0; at < 10; at += 1) await priceOf(one, query);
      const each = ((await blocks()) - before) / 10;
      process.stderr.write(`  a look-up among 12,000 prices of a model: ${each} blocks\n`);
      expect(each).toBeLessThan(25);
    } finally {
      one.release();
    }
  });
});

describe('llm_prices', () => {
  it('shows the prices of operators for all tenants, without those that were corrected or ended', async () => {
    const tenantId = await addTenant(database.sql);
    const on = (text: string): Date => new Date(`${text}T00:00:00Z`);
    const fee = { ...rates, request: { usd: '2.5' } };
    const set = (model: string, request: object) =>
      setPrice(database.sql, { ...price, tenantId: null, model, ...request });
    await set('listed', { from: on('2026-01-01') });
    await set('listed', { from: on('2026-01-01'), rates: fee });
    await set('listed', { from: on('2026-02-01') });
    await set('listed', { tenantId });
    await set('listed', { provider: 'groq' });
    await set('ended', { from: on('2026-01-01') });
    await set('ended', { from: on('2026-02-01'), rates: null });
    await set('ended', { from: on('2026-03-01') });
    const rows = await database.sql`
      select model, valid_from::date::text, input_usd_per_mtok, output_usd_per_mtok, usd_per_request
      from llm_prices where model in ('listed', 'ended') order by model, valid_from`;
    const common = { input_usd_per_mtok: '1', output_usd_per_mtok: '2' };
    expect([...rows]).toEqual([
      { model: 'ended', valid_from: '2026-03-01', ...common, usd_per_request: '0' },
      { model: 'listed', valid_from: '2026-01-01', ...common, usd_per_request: '0.0025' },
      { model: 'listed', valid_from: '2026-02-01', ...common, usd_per_request: '0' },
    ]);
  });

  it.each([
    ['a negative rate', 'm', -1, /violates check/],
    ['NaN', 'm', 'NaN', /violates check/],
    ['a billion dollars', 'm', 1e9, /violates check/],
    ['no rate', 'm', null, /violates check/],
    ['no model', null, 1, /violates not-null/],
    ['a model with a control character', 'a\nb', 1, /invalid_name: the model name/],
  ])('refuses %s', async (_what, model, input, message) => {
    const insert = database.sql`
      insert into llm_prices (model, input_usd_per_mtok, output_usd_per_mtok)
      values (${model}, ${input}::numeric, 1)`;
    await expect(insert).rejects.toThrow(message);
  });
});

/** Those up to this number. */
async function copyMigrations(folder: string, last: number): Promise<void> {
  await cp(new URL('../../../sql/', import.meta.url), folder, {
    recursive: true,
    filter: (path) => !path.endsWith('.sql') || Number(basename(path).slice(0, 4)) <= last,
  });
}

describe('migration 0015', () => {
  it.each(['purser_app', 'purser_plain'] as const)(
    'keeps the prices of operators, up and down, as %s',
    async (login) => {
      const folder = await mkdtemp(join(tmpdir(), 'purser-sql-'));
      const old = await emptyDatabase(login);
      try {
        await copyMigrations(folder, 14);
        await migrateUp(old.url, { folder });
        await old.sql`
          insert into llm_prices (model, valid_from, input_usd_per_mtok, output_usd_per_mtok, usd_per_request) values
            ('m', '2026-01-01', 0.10, 0.123456789012345678901, 0), ('m', '2026-02-01 00:00:00.123456Z', 5, 6, 0.025),
            ('m', '2999-01-01', 7, 7, 0), ('ever', '-infinity', 1, 1, 0), ('never', 'infinity', 1, 1, 0)`;
        await copyMigrations(folder, 15);
        await migrateUp(old.url, { folder });
        const services = await openDatabase({
          url: old.url,
          tenantUrl: undefined,
          applicationName: 'purser test role',
          systemConnections: 1,
          tenantConnections: 1,
        });
        try {
          const sql = services.system;
          const inputOf = async (model: string, now: Date) => {
            const found = await priceOf(sql, { tenantId: undefined, model, now });
            return [found.source, found.rates];
          };
          expect(await inputOf('m', new Date('2026-01-15'))).toEqual([
            'operator',
            { input: { usd: '0.1' }, output: { usd: '0.123456789012345678901' } },
          ]);
          expect(await inputOf('m', new Date('2026-02-01T00:00:00.123Z'))).toEqual([
            'operator',
            { input: { usd: '5' }, output: { usd: '6' }, request: { usd: '25' } },
          ]);
          expect((await inputOf('ever', new Date(0)))[0]).toBe('operator');
          await expect(inputOf('never', new Date())).rejects.toMatchObject({
            code: 'model_unpriced',
          });
          // At level L1 the login of tenants is the same one: without the system's mark it adds no price.
          const insert = old.sql`
            insert into llm_prices (model, input_usd_per_mtok, output_usd_per_mtok) values ('added', 1, 2)`;
          const outcome = await insert.then(
            () => 'inserted',
            (error: unknown) => messageOf(error).split(':')[0],
          );
          expect(outcome).toBe(login === 'purser_app' ? 'inserted' : 'rls_enforcement_failed');
          await setPrice(sql, { ...price, tenantId: null, model: 'added' });
          await setPrice(sql, { ...price, tenantId: null, model: 'ever', rates: null });
        } finally {
          await services.close();
        }
        await migrateDown(old.url, 1, { folder });
        const rows = await old.sql<{ model: string; input: string }[]>`
          select model, input_usd_per_mtok::text as input from llm_prices where valid_from <= now()
          order by model, valid_from`;
        expect(rows.map(({ model, input }) => [model, input])).toEqual([
          ['added', '1'],
          ['m', '0.1'],
          ['m', '5'],
        ]);
        await migrateUp(old.url, { folder });
      } finally {
        await old.close();
        await rm(folder, { recursive: true });
      }
    },
  );
});
