/**
 * The only file that reads the environment. Reports all faults at once, each with the variable, what is wrong
 * and an example.
 */
import { z } from 'zod';
import { environment } from './config-schema.ts';
import { exitCodes, PurserError } from './errors.ts';
import { completeUrl, libpqFaults } from './postgres-parameters.ts';
import { weakSecrets } from './weak-secrets.ts';

export type Config = z.output<typeof environment> & {
  /** Names of the variables that are set; the others have their default. */
  readonly setVariables: ReadonlySet<string>;
};

export interface ConfigVariable {
  readonly name: string;
  readonly default: string;
  readonly description: string;
  readonly example: string;
}

const note = z.object({ description: z.string(), example: z.string() });

/** Defaults as a user writes them, where the parsed value looks different. */
const writtenDefaults: Readonly<Record<string, string>> = {
  PURSER_DATA_DIR: '.purser',
  PURSER_BUILTINS: 'on',
  SCHEDULER_DEADLOCK_RETRY_SECONDS: '1,2,4',
  LLM_TIMEOUT_SECONDS: '30',
};

const textOf = (value: unknown): string =>
  typeof value === 'string' ? value : (JSON.stringify(value) ?? '');

/** Every variable with its default, description and example, as the README shows them. */
export function describeConfig(): ConfigVariable[] {
  return Object.entries(environment.shape).map(([name, schema]) => {
    const meta = note.parse(schema.meta());
    const parsed = schema.safeParse(undefined);
    const value = writtenDefaults[name] ?? parsed.data;
    return { name, default: value === undefined ? '' : textOf(value), ...meta };
  });
}

const keyVariables = environment.pick({
  ENVIRONMENT: true,
  ENCRYPTION_KEY: true,
  ENCRYPTION_KEY_VERSION: true,
  LEGACY_ENCRYPTION_KEYS: true,
  KDF_SALT: true,
  PURSER_DATA_DIR: true,
});

/** The variables that keys are derived from. */
export type KeyConfig = z.output<typeof keyVariables>;

const requiredInProduction = [
  'DATABASE_URL',
  'KDF_SALT',
  'ENCRYPTION_KEY',
  'DASHBOARD_USER',
  'DASHBOARD_PASSWORD',
] as const;

const databaseUrls = ['DATABASE_URL', 'TENANT_DATABASE_URL', 'DATABASE_DIRECT_URL'];

/** Examples for LLM_MODEL, which is required with these providers: the default is a model of OpenAI. */
const llmModels = { anthropic: 'claude-haiku-4-5', google: 'gemini-2.5-flash' };
const llmKeys = { anthropic: 'ANTHROPIC_API_KEY', google: 'GOOGLE_API_KEY' };

interface Issue {
  readonly name: string;
  readonly fault: string;
  /** Replaces the example of the schema. */
  readonly example?: string | undefined;
}

/** All faults of an environment, as lines `NAME fault. Example: NAME=value`. */
function faultsOf(issues: readonly Issue[]): string[] {
  const described = new Map(describeConfig().map((variable) => [variable.name, variable]));
  return issues.map(({ name, fault, example: own }) => {
    const example = own ?? described.get(name)?.example ?? '';
    return example.startsWith('the output')
      ? `${name} ${fault}. Use ${example}`
      : `${name} ${fault}. Example: ${name}=${example}`;
  });
}

/** Reads and checks the environment. Throws `invalid_configuration` (exit 78) with every fault. */
export function loadConfig(env: NodeJS.ProcessEnv = process.env): Config {
  const given = givenIn(env, environment.shape);
  const issues: Issue[] = libpqFaults(env);
  if (issues.length === 0) completeUrls(given, env);
  const parsed = environment.safeParse(given);
  issues.push(...issuesOf(parsed.error));
  const missing = (name: string, why: string, example?: string): void => {
    if (given[name] === undefined) issues.push({ name, fault: why, example });
  };
  const stage = given['ENVIRONMENT'];
  if (stage === 'production') {
    for (const name of requiredInProduction) missing(name, 'is required in production');
  }
  if (stage === 'staging') missing('KDF_SALT', 'is required in staging');
  issues.push(...weakSecretsOf(given, issues));
  if (given['LLM_PROVIDER'] === 'openai' && given['OPENAI_BASE_URL'] === undefined) {
    missing('OPENAI_API_KEY', 'is required with LLM_PROVIDER=openai');
  }
  const provider = given['LLM_PROVIDER'];
  if (provider === 'anthropic' || provider === 'google') {
    missing(llmKeys[provider], `is required with LLM_PROVIDER=${provider}`);
    missing('LLM_MODEL', `is required with LLM_PROVIDER=${provider}`, llmModels[provider]);
  }
  if (given['ALERT_WEBHOOK_URL'] !== undefined) {
    missing('ALERT_WEBHOOK_SECRET', 'is required with ALERT_WEBHOOK_URL');
    if (given['ALERT_WEBHOOK_PRIVATE'] !== 'true' && /^http:/i.test(given['ALERT_WEBHOOK_URL'])) {
      issues.push({ name: 'ALERT_WEBHOOK_URL', fault: 'must begin with https:' });
    }
  }
  if (given['DASHBOARD_PASSWORD'] !== undefined) {
    missing('DASHBOARD_USER', 'is required with DASHBOARD_PASSWORD');
  }
  if (issues.length > 0 || !parsed.success) throw invalid(issues);
  return { ...parsed.data, setVariables: new Set(Object.keys(given)) };
}

/** Reads only the variables of the keys, for programs that enqueue jobs. Throws like `loadConfig`. */
export function loadKeyConfig(env: NodeJS.ProcessEnv = process.env): KeyConfig {
  const parsed = keyVariables.safeParse(givenIn(env, keyVariables.shape));
  const issues = issuesOf(parsed.error);
  issues.push(...weakSecretsOf(givenIn(env, keyVariables.shape), issues));
  if (issues.length > 0 || !parsed.success) throw invalid(issues);
  return parsed.data;
}

/** Weak secrets in staging and production, except those of variables with another fault. */
function weakSecretsOf(given: Partial<Record<string, string>>, issues: readonly Issue[]): Issue[] {
  if (given['ENVIRONMENT'] !== 'production' && given['ENVIRONMENT'] !== 'staging') return [];
  return weakSecrets(given).filter(({ name }) => !issues.some((issue) => issue.name === name));
}

function completeUrls(given: Partial<Record<string, string>>, env: NodeJS.ProcessEnv): void {
  for (const name of databaseUrls) {
    const url = given[name];
    if (url !== undefined) given[name] = completeUrl(url, env);
  }
}

/** Whether npm, npx, pnpm or yarn runs this process as a script. */
export const isNpmScript = (env: NodeJS.ProcessEnv = process.env): boolean =>
  env['npm_lifecycle_event'] !== undefined;

/** The variables of Purser that are not set, and the names of all others that are, in alphabetical order. */
export function variableNames(env: NodeJS.ProcessEnv = process.env): {
  readonly unset: readonly string[];
  readonly others: readonly string[];
} {
  const own = Object.keys(environment.shape);
  const set = new Set(
    Object.keys(env).filter((name) => env[name] !== undefined && env[name] !== ''),
  );
  return {
    unset: own.filter((name) => !set.has(name)),
    others: [...set].filter((name) => !own.includes(name)).toSorted(),
  };
}

/** Variables that are set; an empty one counts as not set. */
function givenIn(env: NodeJS.ProcessEnv, shape: object): Partial<Record<string, string>> {
  const names = Object.keys(shape).filter((name) => env[name] !== undefined && env[name] !== '');
  return Object.fromEntries(names.map((name) => [name, env[name]]));
}

function issuesOf(error: z.ZodError | undefined): Issue[] {
  return (error?.issues ?? []).map((issue) => ({
    name: String(issue.path[0]),
    fault: issue.message,
  }));
}

function invalid(issues: readonly Issue[]): PurserError {
  const faults = faultsOf(issues);
  return new PurserError(
    'invalid_configuration',
    `the environment has ${faults.length} ${faults.length === 1 ? 'fault' : 'faults'}:\n  ${faults.join('\n  ')}`,
    { exitCode: exitCodes.configuration, details: { faults } },
  );
}
