/**
 * The registry: the job types that this process can run, by name.
 */
import { costIngestion } from './cost-ingestion.ts';
import type { Handler } from './define.ts';
import { finopsAnalysis } from './finops-analysis.ts';

export type HandlerRegistry = ReadonlyMap<string, Handler>;

export const builtinHandlers: readonly Handler[] = [costIngestion, finopsAnalysis];

/** A registry of these handlers; a later one of the same type replaces an earlier one. */
export function createRegistry(handlers: readonly Handler[]): HandlerRegistry {
  return new Map(handlers.map((handler) => [handler.type, handler]));
}
