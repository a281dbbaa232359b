/** Where and with what a benchmark ran. */
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { cpus, totalmem } from 'node:os';
import { postgresSettings, redisSettings } from './servers.ts';
import type { Servers } from './servers.ts';

export type About = Readonly<Record<string, string | number>>;

export function aboutRun(servers: Servers, settings: string, startedMs: number): About {
  const [cpu] = cpus();
  return {
    at: new Date().toISOString(),
    commit: commit(),
    processor: `${cpus().length} x ${cpu?.model.trim() ?? 'unknown'}`,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    bullmq: bullmqVersion(),
    redis: `${servers.redisVersion} ${words(redisSettings)}`,
    postgres: `${servers.postgresVersion} fsync=on synchronous_commit=on ${words(postgresSettings)}`,
    settings,
    seconds: Math.round((performance.now() - startedMs) / 1000),
  };
}

function bullmqVersion(): string {
  const found = createRequire(import.meta.url)('bullmq/package.json') as { version: string };
  return found.version;
}

const words = (settings: Readonly<Record<string, string>>): string =>
  Object.entries(settings)
    .map(([name, value]) => `${name}=${value === '' ? '""' : value}`)
    .join(' ');

function commit(): string {
  try {
    const args = ['describe', '--always', '--dirty'];
    const options = { cwd: import.meta.dirname, encoding: 'utf8', stdio: 'pipe' } as const;
    return execFileSync('git', args, options).trim();
  } catch {
    return 'unknown';
  }
}
