/**
 * The registry: the job types that this process can run, by name.
 */
import { keysOf } from '../crypto/open-keyring.ts';
import type { OpenKeys } from '../crypto/open-keyring.ts';
import { exitCodes, PurserError } from '../errors.ts';
import { costIngestion } from './cost-ingestion.ts';
import type { Handler } from './define.ts';
import { finopsAnalysis } from './finops-analysis.ts';
import { keyRotation } from './key-rotation.ts';
import { loadHandlers } from './load.ts';

export type HandlerRegistry = ReadonlyMap<string, Handler>;

const builtinsOver = (openKeys: OpenKeys): readonly Handler[] => [
  costIngestion,
  finopsAnalysis,
  keyRotation(openKeys),
];

const withoutKeys = keysOf(undefined);

/** As facts: what they are, not for running them. */
export const builtinHandlers = builtinsOver(withoutKeys);

/** A registry of these handlers; a later one of the same type replaces an earlier one. */
export function createRegistry(handlers: readonly Handler[]): HandlerRegistry {
  return new Map(handlers.map((handler) => [handler.type, handler]));
}

/**
 * Built-in handlers, over the keys that this thread has, and those of the module (PURSER_HANDLERS). Throws
 * `invalid_handlers` (exit 78).
 */
export async function openRegistry(
  modulePath: string | undefined,
  openKeys: OpenKeys = withoutKeys,
): Promise<HandlerRegistry> {
  const own = modulePath === undefined ? [] : await loadHandlers(modulePath);
  const taken = own.find(({ type }) => isBuiltin(type));
  if (taken !== undefined) {
    throw new PurserError(
      'invalid_handlers',
      `PURSER_HANDLERS=${modulePath}: the job type ${taken.type} is built in; give yours another name`,
      { exitCode: exitCodes.configuration },
    );
  }
  return createRegistry([...builtinsOver(openKeys), ...own]);
}

/** Whether `migrate up` registers the type. */
export const isBuiltin = (jobType: string): boolean =>
  builtinHandlers.some(({ type }) => type === jobType);
