/**
 * The environment variables: type, default, description and an example. The README's table is generated from
 * this schema.
 */
import { resolve } from 'node:path';
import { z } from 'zod';
import { builtinsVariable } from './builtins.ts';
import { alertVariables, llmTimeouts } from './variable-types.ts';
import { apiKey, baseUrl, flag, model, networks, postgresUrl } from './variable-types.ts';
import { pauses, redisUrl, salt, secret, user, wholeNumber } from './variable-types.ts';

const saltExample = 'the output of: purser keys generate-salt';
const keyExample = 'the output of: purser keys generate-key';

const about = (description: string, example: string) => ({ description, example });

export const environment = z.object({
  ENVIRONMENT: z
    .enum(['development', 'staging', 'production'], {
      error: 'must be development, staging or production',
    })
    .default('development')
    .meta(
      about(
        'Deployment stage. Production accepts no generated keys or passwords and no embedded database',
        'production',
      ),
    ),
  DATABASE_URL: postgresUrl
    .optional()
    .meta(
      about(
        'Postgres 15 or newer. Required in production; without it `demo` and `start all` run an embedded one',
        'postgres://user:password@host:5432/purser',
      ),
    ),
  TENANT_DATABASE_URL: postgresUrl
    .optional()
    .meta(
      about(
        'Separate login for tenant transactions (tenancy level L3)',
        'postgres://purser_tenant_login:password@host:5432/purser',
      ),
    ),
  DATABASE_DIRECT_URL: postgresUrl
    .optional()
    .meta(
      about(
        'Address of the database without the pooler, when DATABASE_URL goes through PgBouncer',
        'postgres://user:password@host:5432/purser',
      ),
    ),
  DATABASE_TLS_VERIFY: flag
    .optional()
    .meta(
      about(
        'TLS to Postgres: true checks the certificate, false accepts self-signed ones; unset: according to the URL',
        'false',
      ),
    ),
  REDIS_URL: redisUrl
    .optional()
    .meta(
      about(
        'Redis 6.2+ or Valkey with `noeviction`; without it the queues are in Postgres',
        'redis://127.0.0.1:6379',
      ),
    ),
  REDIS_TLS_VERIFY: flag
    .optional()
    .meta(
      about('TLS to Redis: true checks the certificate, false accepts self-signed ones', 'false'),
    ),
  KDF_SALT: salt
    .optional()
    .meta(
      about(
        'Salt for key derivation, one per environment. Required in staging and production',
        saltExample,
      ),
    ),
  ENCRYPTION_KEY: secret(16)
    .optional()
    .meta(
      about('Passphrase that encryption keys are derived from. Required in production', keyExample),
    ),
  ENCRYPTION_KEY_VERSION: wholeNumber(1, 1_000_000)
    .default(1)
    .meta(about('Version number of ENCRYPTION_KEY; increase it with every new key', '2')),
  LEGACY_ENCRYPTION_KEYS: z
    .string()
    .optional()
    .meta(
      about(
        'Older keys, used for decryption only: a JSON list of version, key and optionally salt and iterations',
        '[{"version":1,"key":"an older passphrase"}]',
      ),
    ),
  PORT: wholeNumber(0, 65_535).default(3000).meta(about('Port of the web role', '3000')),
  DASHBOARD_USER: user
    .optional()
    .meta(about('User name of the dashboard. Required in production', 'operator')),
  DASHBOARD_PASSWORD: secret(8)
    .optional()
    .meta(
      about(
        'Password of the dashboard. Required in production; elsewhere one is generated and printed at each start',
        keyExample,
      ),
    ),
  TRUSTED_PROXIES: networks
    .optional()
    .meta(
      about(
        'Proxies in front of the web role whose X-Forwarded-For header is trusted: addresses and networks; default none',
        '10.0.0.0/8',
      ),
    ),
  METRICS_PUBLIC: flag
    .prefault('false')
    .meta(about('true serves /metrics without a login; they name job types and providers', 'true')),
  PURSER_DATA_DIR: z
    .string()
    .default('.purser')
    .transform((path) => resolve(path))
    .meta(
      about(
        'Data folder on a development machine: the embedded database and a generated salt',
        '.purser',
      ),
    ),
  PURSER_HANDLERS: z
    .string()
    .optional()
    .meta(
      about(
        'Module that exports `handlers`, in addition to the built-in ones',
        './my-handlers.mjs',
      ),
    ),
  PURSER_BUILTINS: builtinsVariable
    .prefault('on')
    .meta(
      about(
        'Built-in FinOps job types to run: on, off, or a list of `cost_ingestion`, `finops_analysis`; `key_rotation` always runs',
        'cost_ingestion',
      ),
    ),
  LLM_PROVIDER: z
    .enum(['openai', 'anthropic', 'google', 'offline'], {
      error: 'must be openai, anthropic, google or offline',
    })
    .optional()
    .meta(
      about(
        'openai (any compatible server), anthropic, google or offline (statistics, no LLM); default: openai when OPENAI_API_KEY is set, else offline',
        'openai',
      ),
    ),
  LLM_MODEL: model
    .default('gpt-4o-mini')
    .meta(
      about(
        'Default model of handlers; it must have a price. Required with anthropic (claude-haiku-4-5) and google (gemini-2.5-flash)',
        'gpt-4o-mini',
      ),
    ),
  LLM_TIMEOUT_SECONDS: llmTimeouts
    .prefault('30')
    .meta(
      about(
        'Timeout of one LLM call, with those of single models after it. The cost of a call that timed out is unknown and stays charged at its hold',
        '30,o3=120',
      ),
    ),
  OPENAI_API_KEY: apiKey.optional().meta(about('Key of the OpenAI-compatible provider', 'sk-...')),
  OPENAI_BASE_URL: baseUrl()
    .default('https://api.openai.com/v1')
    .meta(
      about(
        'Base URL of the provider; `/chat/completions` is appended',
        'http://127.0.0.1:11434/v1',
      ),
    ),
  ANTHROPIC_API_KEY: apiKey
    .optional()
    .meta(about('Key of Anthropic. Required with LLM_PROVIDER=anthropic', 'sk-ant-...')),
  ANTHROPIC_BASE_URL: baseUrl()
    .default('https://api.anthropic.com/v1')
    .meta(
      about(
        'Base URL of Anthropic or of a compatible gateway; `/messages` is appended',
        'https://llm-gateway.internal/v1',
      ),
    ),
  GOOGLE_API_KEY: apiKey
    .optional()
    .meta(about('Key of the Gemini API. Required with LLM_PROVIDER=google', 'AIza...')),
  GOOGLE_BASE_URL: baseUrl('models')
    .default('https://generativelanguage.googleapis.com/v1beta')
    .meta(
      about(
        'Base URL of the Gemini API or of a compatible gateway; `/models/MODEL:generateContent` is appended',
        'https://llm-gateway.internal/v1beta',
      ),
    ),
  WORKER_CONCURRENCY: wholeNumber(1, 1_000)
    .default(10)
    .meta(about('Maximum jobs that a worker runs at once, of all types together', '10')),
  WORKER_BEGUN_AHEAD: wholeNumber(0, 1_000)
    .default(800)
    .meta(
      about(
        'Jobs of a short job type (known to run for 50 ms at most) that a worker begins before it has a free slot for them, never more than 100 ms of work',
        '800',
      ),
    ),
  SCHEDULER_JOBS_PER_ENTRY: wholeNumber(1, 100)
    .default(100)
    .meta(
      about(
        'Jobs of a short job type that share a queue entry at most; with 1, Bull Board shows each by itself, at several times the cost',
        '100',
      ),
    ),
  SCHEDULER_DEADLOCK_RETRY_SECONDS: pauses
    .default([1_000, 2_000, 4_000])
    .meta(about('Seconds before each retry of a claim that met a deadlock', '1,2,4')),
  WORKER_THREADS: wholeNumber(1, 32)
    .default(1)
    .meta(about('Threads per worker; its jobs are distributed among them', '1')),
  WORKER_THREAD_HEAP_MB: wholeNumber(64, 65_536)
    .default(256)
    .meta(
      about(
        'Maximum JavaScript heap (old generation) of a thread; exceeding it ends only that thread. Buffers are not part of it',
        '256',
      ),
    ),
  PURSER_LEASE_MS: wholeNumber(1_000, 60_000)
    .default(15_000)
    .meta(about('Lease of a worker in milliseconds; then its jobs run elsewhere', '15000')),
  LOG_LEVEL: z
    .enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], {
      error: 'must be trace, debug, info, warn, error, fatal or silent',
    })
    .default('info')
    .meta(about('Minimum log level', 'info')),
  ...alertVariables,
});
