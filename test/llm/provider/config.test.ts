/** The provider from the environment; each fault names its variable and the fix. */
import { describe, expect, it } from 'vitest';
import { llmProviderOf } from '../../../src/cli/runtime/llm-provider.ts';
import { loadConfig } from '../../../src/config.ts';
import { createLlm } from '../../../src/llm/create-llm.ts';
import { connect } from '../../../src/db/connect.ts';

const providerOf = (env: NodeJS.ProcessEnv) => llmProviderOf(loadConfig(env));
const keys = { ANTHROPIC_API_KEY: 'sk-ant-1', GOOGLE_API_KEY: 'AIza1', OPENAI_API_KEY: 'sk-1' };

describe('LLM_PROVIDER', () => {
  it('anthropic and google have their own key, base URL and model', () => {
    expect(
      providerOf({ ...keys, LLM_PROVIDER: 'anthropic', LLM_MODEL: 'claude-haiku-4-5' }),
    ).toEqual({
      kind: 'anthropic',
      model: 'claude-haiku-4-5',
      apiKey: 'sk-ant-1',
      baseUrl: 'https://api.anthropic.com/v1',
      timeoutMs: 30_000,
      modelTimeoutsMs: new Map(),
    });
    expect(
      providerOf({
        ...keys,
        LLM_PROVIDER: 'google',
        LLM_MODEL: 'gemini-2.5-flash',
        GOOGLE_BASE_URL: 'https://gateway.internal/v1beta',
        LLM_TIMEOUT_SECONDS: '90,gemini-2.5-pro=120,a=b=1',
      }),
    ).toEqual({
      kind: 'google',
      model: 'gemini-2.5-flash',
      apiKey: 'AIza1',
      baseUrl: 'https://gateway.internal/v1beta',
      timeoutMs: 90_000,
      modelTimeoutsMs: new Map([
        ['gemini-2.5-pro', 120_000],
        ['a=b', 1_000],
      ]),
    });
  });

  it('openai is the default where its key is set, else the offline analyst answers', () => {
    expect(providerOf(keys)).toMatchObject({ kind: 'openai', model: 'gpt-4o-mini' });
    expect(providerOf({ ANTHROPIC_API_KEY: 'sk-ant-1' })).toMatchObject({
      kind: 'offline',
      analyst: { model: 'offline-analyst' },
    });
  });

  it.each([
    ['anthropic', 'ANTHROPIC_API_KEY', 'LLM_MODEL=claude-haiku-4-5'],
    ['google', 'GOOGLE_API_KEY', 'LLM_MODEL=gemini-2.5-flash'],
  ])(
    '%s without key and model names both variables, and never uses the default model',
    (kind, key, fix) => {
      const load = () => loadConfig({ LLM_PROVIDER: kind, OPENAI_API_KEY: 'sk-1' });
      expect(load).toThrow(`${key} is required with LLM_PROVIDER=${kind}`);
      expect(load).toThrow(`LLM_MODEL is required with LLM_PROVIDER=${kind}. Example: ${fix}`);
      expect(load).toThrow('2 faults');
    },
  );

  it.each([
    [{ LLM_PROVIDER: 'gemini' }, 'LLM_PROVIDER must be openai, anthropic, google or offline'],
    [{ ANTHROPIC_BASE_URL: 'api.anthropic.com' }, 'ANTHROPIC_BASE_URL is not an http(s) URL'],
    [{ GOOGLE_BASE_URL: 'ftp://x' }, 'GOOGLE_BASE_URL is not an http(s) URL'],
    [{ LLM_TIMEOUT_SECONDS: '0' }, 'LLM_TIMEOUT_SECONDS must be a whole number from 1 to 600'],
  ])('%j is a fault', (env, fault) => {
    expect(() => loadConfig(env)).toThrow(fault);
  });
});

describe('the gateway', () => {
  it.each(['anthropic', 'google'] as const)(
    'to %s cannot be created without a key',
    async (kind) => {
      const sql = connect('postgres://nobody@127.0.0.1:1/none', {
        max: 1,
        applicationName: 'test',
      });
      const provider = { kind, model: 'm' };
      expect(() => createLlm({ provider, budgetSql: sql })).toThrow(
        `${kind.toUpperCase()}_API_KEY is empty`,
      );
      await sql.end();
    },
  );
});
