/** Calls of tenants with their own key: the provider sees that key or none, and nobody else does. */
import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { OpenKeys } from '../../../src/crypto/open-keyring.ts';
import { setScope } from '../../../src/budget/scopes.ts';
import { tenantSql } from '../../../src/db/tenant.ts';
import { startRotation } from '../../../src/jobs/rotation.ts';
import { codeOf } from '../../../src/errors.ts';
import { listOwnKeys, removeOwnKey, setOwnKey } from '../../../src/llm/keys/stored-keys.ts';
import { packError } from '../../../src/worker/executors/packed-errors.ts';
import { bothKeys, newKeys, oldKeys, rotateAll } from '../../handlers/rotating.ts';
import { collectingLog } from '../../support/collecting-log.ts';
import { countersOf } from '../../support/holds.ts';
import { llmAttempt, useProvider } from '../../support/llm-attempt.ts';
import { speakers, wireProtocols } from '../../support/provider-protocols.ts';
import type { WireProtocol } from '../../support/provider-protocols.ts';
import { addTenant } from '../../support/tenants.ts';

const platformKey = 'sk-platform-0123456789abcdef';
const models = { openai: 'gpt-4o-mini', anthropic: 'claude-haiku-4-5', google: 'gemini-2.5-flash' };
const question = { system: 'Be brief.', prompt: 'How are the costs?', maxOutputTokens: 200 };
/** Of no form that is known as a key. */
const newKey = (): string => `own.${randomBytes(12).toString('hex')}`;

const fixture = useProvider();

interface Opened {
  readonly limitUsd?: string;
  readonly kind?: WireProtocol;
  readonly openKeys?: OpenKeys;
}

/** An attempt of a tenant without a budget, on the gateway of a platform with a key. */
async function open(opened: Opened = {}) {
  const { limitUsd = '0', kind = 'openai', openKeys = () => oldKeys } = opened;
  const { sql } = fixture.database;
  const tenantId = await addTenant(sql, { limitUsd });
  const baseUrl = fixture.provider.urls[kind];
  const config = { kind, model: models[kind], apiKey: platformKey, baseUrl };
  const { lines, log } = collectingLog();
  const attempt = await llmAttempt(sql, tenantId, config, log, { openKeys });
  const set = (apiKey: string, countsAgainstBudget = false) =>
    setOwnKey(sql, {
      tenantId,
      provider: kind,
      apiKey,
      countsAgainstBudget,
      by: 'test',
      keyring: oldKeys,
      keyVersion: 1,
    });
  return { ...attempt, lines, set };
}

const keysSeen = (kind: WireProtocol = 'openai') =>
  fixture.provider.received.map(({ headers }) => speakers[kind].keyOf(headers));

const failureOf = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => {
      throw new Error('the call succeeded');
    },
    (error: unknown) => error,
  );

describe.each(wireProtocols)('an own key of %s', (kind) => {
  it('is what the provider sees of each call and stream, with a budget of zero', async () => {
    const { llm, tenantId, set } = await open({ kind });
    await expect(llm.generate(question)).rejects.toMatchObject({ code: 'budget_exceeded' });
    const apiKey = newKey();
    await set(apiKey);
    const answer = await llm.generate(question);
    for await (const _ of llm.stream(question));
    await llm.generate({ ...question, minOutputTokens: 10, fallbacks: [{ maxOutputTokens: 100 }] });
    expect(keysSeen(kind)).toEqual([apiKey, apiKey, apiKey]);
    const rows = await fixture.database.sql`
      select distinct r.provider_key, r.counts_apart, l.counts_apart as ledger, r.status
      from llm_reservations r join llm_ledger l on l.reservation_id = r.id where r.tenant_id = ${tenantId}`;
    expect([...rows]).toEqual([
      { provider_key: `own:${kind}`, counts_apart: true, ledger: true, status: 'APPLIED' },
    ]);
    expect(Number(answer.costUsd)).toBeGreaterThan(0);
    expect(await countersOf(fixture.database.sql, tenantId)).toEqual({
      reserved: '0',
      spent: '0',
      unknown: '0',
    });
  });
});

it.each([401, 402, 403, 429, 500])(
  'a %i is an error of the own key, with no call of the platform and no key in it',
  async (status) => {
    const { llm, tenantId, lines, set } = await open({ limitUsd: '100' });
    const apiKey = newKey();
    await set(apiKey);
    const body = JSON.stringify({ error: { message: `Incorrect API key provided: ${apiKey}.` } });
    fixture.provider.script({ kind: 'status', status, body }, { kind: 'status', status, body });
    const error = await failureOf(llm.generate(question));
    const streamed = await failureOf(llm.stream(question).answer);
    expect(keysSeen()).toEqual([apiKey, apiKey]);
    const owner =
      `own openai key of tenant ${tenantId}, and the platform's key is not used instead; ` +
      `replace it: purser llm keys set ${tenantId} --provider openai`;
    for (const each of [error, streamed]) {
      expect(each).toMatchObject({ details: { providerKey: 'own:openai', outcome: 'released' } });
      expect(String(each).includes(owner)).toBe(status !== 500);
      expect(String(each)).not.toContain('OPENAI_API_KEY');
      const shown = inspect(each, { depth: 9 }) + JSON.stringify(packError(each));
      expect(shown).not.toContain(apiKey);
      expect(shown).not.toContain(platformKey);
    }
    expect(JSON.stringify(lines)).not.toContain(apiKey);
    expect(await countersOf(fixture.database.sql, tenantId)).toEqual({
      reserved: '0',
      spent: '0',
      unknown: '0',
    });
  },
);

it('a platform key that fails is told as before', async () => {
  const { llm } = await open({ limitUsd: '100' });
  fixture.provider.script({ kind: 'status', status: 401 });
  const error = await failureOf(llm.generate(question));
  expect(String(error)).toContain('check OPENAI_API_KEY');
  expect(keysSeen()).toEqual([platformKey]);
});

it('a key that cannot be decrypted sends nothing, with no key of the platform', async () => {
  for (const [keyring, why] of [
    [newKeys, 'decryption_failed'],
    [undefined, 'encryption_key_missing'],
  ] as const) {
    const { sql } = fixture.database;
    const tenantId = await addTenant(sql, { limitUsd: '100' });
    const apiKey = newKey();
    const own = { tenantId, provider: 'openai', by: 'test', countsAgainstBudget: false } as const;
    await setOwnKey(sql, { ...own, apiKey, keyring: oldKeys, keyVersion: 1 });
    const baseUrl = fixture.provider.url;
    const config = { kind: 'openai', model: models.openai, apiKey: platformKey, baseUrl } as const;
    const options = keyring === undefined ? {} : { openKeys: () => keyring };
    const { llm } = await llmAttempt(sql, tenantId, config, undefined, options);
    await expect(llm.generate(question)).rejects.toMatchObject({
      code: 'llm_own_key_unreadable',
      message: expect.stringMatching(new RegExp(`${why}.*platform's key is not used instead`)),
      details: { class: 'retry', outcome: 'released' },
    });
  }
  expect(fixture.provider.received).toHaveLength(0);
});

it("the token of another tenant's key does not decrypt, and sends nothing", async () => {
  const { sql } = fixture.database;
  const [owner, thief] = [await open({ limitUsd: '9' }), await open({ limitUsd: '9' })];
  await owner.set(newKey());
  await thief.set(newKey());
  await sql`
    update llm_provider_keys set api_key = (select api_key from llm_provider_keys where tenant_id = ${owner.tenantId})
    where tenant_id = ${thief.tenantId}`;
  expect(codeOf(await failureOf(thief.llm.generate(question)))).toBe('llm_own_key_unreadable');
  expect(fixture.provider.received).toHaveLength(0);
});

it('a key that is replaced or removed during a call leaves that call its key', async () => {
  const { llm, tenantId, set } = await open();
  const [first, second] = [newKey(), newKey()];
  await set(first);
  let release = (): void => {};
  const until = new Promise<void>((resolve) => {
    release = resolve;
  });
  fixture.provider.script({ kind: 'answer', until });
  const running = llm.generate(question);
  await expect.poll(() => fixture.provider.received.length).toBe(1);
  expect((await set(second)).outcome).toBe('replaced');
  await llm.generate(question);
  const own = { tenantId, provider: 'openai' } as const;
  expect(await removeOwnKey(fixture.database.sql, own, 'test')).toBe(true);
  release();
  await running;
  expect(codeOf(await failureOf(llm.generate(question)))).toBe('budget_exceeded');
  expect(keysSeen()).toEqual([first, second]);
});

it('a model that refuses JSON mode is asked again with the key that the call began with', async () => {
  let opened = 0;
  const { llm, set } = await open({
    openKeys: () => {
      opened += 1;
      if (opened > 1) throw new Error('the key was looked up again');
      return oldKeys;
    },
  });
  await set(newKey());
  const body = JSON.stringify({ error: { message: 'response_format is not supported' } });
  fixture.provider.script({ kind: 'status', status: 400, body });
  const schema = z.object({ a: z.string() });
  const failure = await failureOf(llm.generate({ ...question, schema }));
  expect(codeOf(failure)).toBe('llm_output_invalid');
  expect(new Set(keysSeen()).size).toBe(1);
});

it('a scope of kind provider_key limits an own key by its name', async () => {
  const { llm, tenantId, set } = await open();
  await set(newKey());
  const limits = { limitCalls: 1, hard: true, by: 'test' } as const;
  const scope = { tenantId, kind: 'provider_key', subject: 'own:openai', period: 'day' } as const;
  await setScope(fixture.database.sql, { ...scope, ...limits });
  await llm.generate(question);
  await expect(llm.generate(question)).rejects.toMatchObject({
    code: 'budget_exceeded',
    details: { scope: 'provider_key' },
  });
});

it('is re-encrypted by the rotation of all keys, and works on', async () => {
  const database = await fixture.database.open();
  const { system } = database;
  const { llm, tenantId, set } = await open({ openKeys: () => bothKeys });
  const apiKey = newKey();
  await set(apiKey);
  await startRotation(system, 2, 'test');
  await rotateAll(database);
  const [stored] = await listOwnKeys(system, { tenantId });
  expect(stored).toMatchObject({ keyVersion: 2, lastFour: apiKey.slice(-4) });
  expect(JSON.stringify(stored)).not.toContain(apiKey);
  await llm.generate(question);
  expect(keysSeen()).toEqual([apiKey]);
});

it.each(['L2', 'L3'] as const)(
  'at level %s no handler reads or writes a key, its own or that of another tenant',
  async (level) => {
    const [owner, other] = [await open(), await open()];
    await owner.set(newKey());
    const { tenant } = await fixture.database.open({ level });
    for (const { token } of [owner, other]) {
      const sql = tenantSql(tenant, { token });
      for (const denied of [
        () => sql`select api_key from llm_provider_keys`,
        () => sql`update llm_provider_keys set counts_against_budget = false`,
      ]) {
        await expect(denied()).rejects.toMatchObject({ code: '42501' });
      }
    }
  },
);
