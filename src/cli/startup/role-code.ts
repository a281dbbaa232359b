/**
 * The code of the roles that a process runs, and of no others: loading the rest takes longer than the start itself. All
 * of it is loaded before the start opens anything, so that a package that is missing ends the process at once.
 */
import type { Config } from '../../config.ts';
import { databaseUrl } from '../runtime/database-options.ts';
import type { RoleName } from './steps.ts';

const load = {
  scheduler: () => import('../roles/scheduler.ts'),
  worker: async () => ({
    ...(await import('../roles/worker.ts')),
    ...(await import('../runtime/worker-parts.ts')),
    ...(await import('../runtime/llm-provider.ts')),
  }),
  web: async () => ({
    ...(await import('../roles/web.ts')),
    ...(await import('../../web/door.ts')),
  }),
  embedded: () => import('../runtime/embed-database.ts'),
};

export type RoleCode = {
  readonly [Part in keyof typeof load]?: Awaited<ReturnType<(typeof load)[Part]>>;
};

export async function loadRoleCode(
  word: string,
  roles: readonly RoleName[],
  config: Config,
): Promise<RoleCode> {
  const embeds = mayEmbed(word, config);
  return {
    ...(roles.includes('scheduler') && { scheduler: await load.scheduler() }),
    ...(roles.includes('worker') && { worker: await load.worker() }),
    ...(roles.includes('web') && { web: await load.web() }),
    ...(embeds && { embedded: await load.embedded() }),
  };
}

/** `start all` may start an embedded database; every other role needs DATABASE_URL. */
function mayEmbed(word: string, config: Config): boolean {
  if (config.DATABASE_URL === undefined && word === 'all' && config.ENVIRONMENT !== 'production')
    return true;
  databaseUrl(config);
  return false;
}
