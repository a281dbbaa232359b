/** Calls that get no answer, or none in time: what was sent, and what it may have cost. */
import { describe, expect, it } from 'vitest';
import { createLlm } from '../../../src/llm/create-llm.ts';
import { countersOf } from '../../support/holds.ts';
import { failingCall, faultyCall, llmAttempt, useProvider } from '../../support/llm-attempt.ts';
import { wireProtocols } from '../../support/provider-protocols.ts';
import type { WireProtocol } from '../../support/provider-protocols.ts';
import type { Scripted } from '../../support/provider.ts';
import { addTenant } from '../../support/tenants.ts';

const fixture = useProvider();

const callOnce = (kind: WireProtocol, options: { baseUrl?: string; timeoutMs?: number } = {}) =>
  failingCall(fixture.database.sql, { kind, baseUrl: fixture.provider.urls[kind], ...options });

const released = { reserved: '0', spent: '0', unknown: '0' };
const unknown = { reserved: '0', spent: '0', unknown: '0.1' };

describe.each(wireProtocols)('a call without an answer, in the protocol of %s', (kind) => {
  it.each<[string, Scripted]>([
    ['a hang', { kind: 'hang' }],
    ['an answer that comes too late', { kind: 'answer', delayMs: 3000 }],
    ['a slow stream', { kind: 'slow', pauseMs: 50 }],
  ])('%s ends at the timeout, and its cost is unknown', async (_name, scripted) => {
    fixture.provider.script(scripted);
    const { tenantId, failure } = await callOnce(kind, { timeoutMs: 300 });
    expect(await failure).toMatchObject({
      code: 'llm_timeout',
      details: { class: 'retry', outcome: 'unknown' },
      message: expect.stringMatching(/within 300 ms;.*raise LLM_TIMEOUT_SECONDS/),
    });
    expect(await countersOf(fixture.database.sql, tenantId)).toEqual(unknown);
  });

  it('an attempt that is aborted while the provider works leaves its cost unknown', async () => {
    fixture.provider.script({ kind: 'hang' });
    const { tenantId, failure, controller } = await callOnce(kind);
    await expect.poll(() => fixture.provider.received.length).toBe(1);
    controller.abort(new Error('deadline'));
    expect(await failure).toMatchObject({ code: 'llm_aborted', details: { outcome: 'unknown' } });
    expect(await countersOf(fixture.database.sql, tenantId)).toEqual(unknown);
  });

  it('an attempt that is aborted already sends nothing and holds nothing', async () => {
    const tenantId = await addTenant(fixture.database.sql, { limitUsd: '1' });
    const { llm, controller } = await llmAttempt(fixture.database.sql, tenantId, {
      kind,
      model: 'ten-cents',
      apiKey: faultyCall.apiKey,
      baseUrl: fixture.provider.urls[kind],
    });
    controller.abort();
    await expect(llm.generate(faultyCall)).rejects.toMatchObject({
      code: 'llm_aborted',
      details: { outcome: 'released' },
    });
    expect(fixture.provider.received).toHaveLength(0);
    const rows = await fixture.database
      .sql`select from llm_reservations where tenant_id = ${tenantId}`;
    expect(rows).toHaveLength(0);
  });

  it('a refused connection releases the hold', async () => {
    await fixture.provider.stop();
    const { tenantId, failure } = await callOnce(kind);
    expect(await failure).toMatchObject({
      code: 'llm_unreachable',
      details: { class: 'snooze', outcome: 'released' },
      message: expect.stringMatching(
        new RegExp(`ECONNREFUSED.*nothing was sent; check ${kind.toUpperCase()}_BASE_URL`),
      ),
    });
    expect(await countersOf(fixture.database.sql, tenantId)).toEqual(released);
  });

  it.each([
    ['a port that fetch never connects to', 'http://127.0.0.1:1/v1', /bad port/],
    ['a URL that fetch does not accept', 'http://user:CANARY@127.0.0.1:9/v1', /credentials/],
    ['a host that does not exist', 'http://provider.invalid/v1', /ENOTFOUND|EAI_AGAIN/],
  ])('%s releases the hold', async (_name, baseUrl, says) => {
    const { tenantId, failure } = await callOnce(kind, { baseUrl });
    const error = await failure;
    expect(error).toMatchObject({
      code: 'llm_unreachable',
      details: { class: 'snooze', outcome: 'released' },
    });
    expect(error.message).toMatch(says);
    expect(error.message).not.toContain('CANARY');
    expect(await countersOf(fixture.database.sql, tenantId)).toEqual(released);
  });

  it.each([
    ['with a line break', 'sk-test\nbroken'],
    ['that is empty', ''],
  ])('a key %s is named at the start, without being shown', (_name, apiKey) => {
    const provider = { kind, model: 'ten-cents', apiKey };
    expect(() => createLlm({ provider, budgetSql: fixture.database.sql })).toThrow(
      new RegExp(`^${kind.toUpperCase()}_API_KEY(?!.*sk-test)`, 's'),
    );
  });
});
