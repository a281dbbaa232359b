/**
 * The registry: the job types that this process can run, by name. The FinOps ones are loaded only where
 * PURSER_BUILTINS has them.
 */
import { finopsJobTypes, isFinopsJobType } from '../builtins.ts';
import type { FinopsJobType } from '../builtins.ts';
import { keysOf } from '../crypto/open-keyring.ts';
import type { OpenKeys } from '../crypto/open-keyring.ts';
import { exitCodes, PurserError } from '../errors.ts';
import { rotationJobType } from '../jobs/rotation.ts';
import type { Handler } from './define.ts';
import { keyRotation } from './key-rotation.ts';
import { loadHandlers } from './load.ts';

export type HandlerRegistry = ReadonlyMap<string, Handler>;

const loadFinops: Readonly<Record<FinopsJobType, () => Promise<Handler>>> = {
  cost_ingestion: async () => (await import('./cost-ingestion.ts')).costIngestion,
  finops_analysis: async () => (await import('./finops-analysis.ts')).finopsAnalysis,
};

const withoutKeys = keysOf(undefined);

/** The built-in handlers: `key_rotation`, and the FinOps ones that are named. */
export async function loadBuiltins(
  finops: readonly FinopsJobType[],
  openKeys: OpenKeys = withoutKeys,
): Promise<Handler[]> {
  const loaded = await Promise.all(finops.map((type) => loadFinops[type]()));
  return [...loaded, keyRotation(openKeys)];
}

/** True for every built-in name, also one that PURSER_BUILTINS leaves out. */
export const isBuiltin = (jobType: string): boolean =>
  jobType === rotationJobType || isFinopsJobType(jobType);

/** A registry of these handlers; a later one of the same type replaces an earlier one. */
export function createRegistry(handlers: readonly Handler[]): HandlerRegistry {
  return new Map(handlers.map((handler) => [handler.type, handler]));
}

/**
 * Built-in handlers, over the keys that this thread has, and those of the module (PURSER_HANDLERS). The name of a
 * built-in type stays taken while PURSER_BUILTINS leaves it out: its jobs and schedules may still be in the
 * database. Throws `invalid_handlers` (exit 78).
 */
export async function openRegistry(
  modulePath: string | undefined,
  openKeys: OpenKeys = withoutKeys,
  finops: readonly FinopsJobType[] = finopsJobTypes,
): Promise<HandlerRegistry> {
  const own = modulePath === undefined ? [] : await loadHandlers(modulePath);
  const taken = own.find(({ type }) => isBuiltin(type));
  if (taken !== undefined) {
    throw new PurserError(
      'invalid_handlers',
      `PURSER_HANDLERS=${modulePath}: the job type ${taken.type} is built in, whatever PURSER_BUILTINS says; give yours another name`,
      { exitCode: exitCodes.configuration },
    );
  }
  return createRegistry([...(await loadBuiltins(finops, openKeys)), ...own]);
}
