/**
 * Loads the user's handlers from the module that PURSER_HANDLERS names: `export const handlers = [...]`, results of
 * defineHandler or plain objects, and their schedules. An invalid module is refused with its fault and exit code 78.
 */
import { writeSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { isMainThread } from 'node:worker_threads';
import { z } from 'zod';
import { lookUpJobType } from '../budget/look-up/answer.ts';
import { exitCodes, messageOf, PurserError } from '../errors.ts';
import { defineHandler } from './define.ts';
import { watchImport } from './blocked-import.ts';
import { locationOfError } from './error-location.ts';
import { importModule } from './import-module.ts';
import type { Handler, JobContext } from './define.ts';
import { usageLookUp } from './usage-look-up.ts';
import type { LookUpUsage } from './usage-look-up.ts';

type Run = (ctx: JobContext<unknown>) => Promise<unknown>;
const isFunction = (value: unknown): value is Run => typeof value === 'function';
const isHook = (value: unknown): value is LookUpUsage => typeof value === 'function';

const shape = z.looseObject({
  type: z.string(),
  timeoutMs: z.number(),
  maxAttempts: z.number(),
  payload: z
    .custom<Handler['payload']>(
      (value) => value !== null && typeof value === 'object' && '~standard' in value,
      { error: 'must be a Standard Schema (zod, valibot, arktype ...)' },
    )
    .optional(),
  onBudget: z.enum(['park', 'fail']).optional(),
  giveUpAfterMs: z.number().int().positive().optional(),
  concurrency: z.number().optional(),
  isolation: z.enum(['shared', 'exclusive']).optional(),
  durableBegin: z.boolean().optional(),
  llmTimeoutMs: z.number().optional(),
  // defineHandler names its faults.
  llm: z.custom<NonNullable<Handler['llm']>>().optional(),
  backoff: z.object({ baseMs: z.number().optional(), capMs: z.number().optional() }).optional(),
  run: z.custom<Run>(isFunction, { error: 'must be a function' }),
});

function invalidModule(path: string, fault: string, cause?: unknown): PurserError {
  return new PurserError('invalid_handlers', `PURSER_HANDLERS=${path}: ${fault}`, {
    exitCode: exitCodes.configuration,
    cause,
  });
}

const loadWithinMs = 30_000;
/** A main thread that is not blocked reports a late module itself. */
const reactMs = 1_000;

/** Without the limit, a top-level await that never settles would block the start, or end the process silently. */
async function withLoadTimeout(module: Promise<unknown>, withinMs: number): Promise<unknown> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`a top-level await of it has not settled within ${withinMs} ms`)),
      withinMs,
    );
  });
  return Promise.race([module, late]).finally(() => clearTimeout(timer));
}

/**
 * A module that ends the process of a command, by process.exit or by an error that nobody catches, is named, and the
 * exit code is that of a wrong configuration. The end of a thread is reported by its supervisor.
 */
function namedAtExit(path: string): { readonly end: () => void } {
  const name = (): void => {
    const { message } = invalidModule(path, 'the module ended the process while it was loaded');
    writeSync(process.stderr.fd, `purser: ${message}\n`);
    process.exitCode = exitCodes.configuration;
  };
  if (isMainThread) process.once('exit', name);
  return { end: () => process.off('exit', name) };
}

/** Loads the module, relative to the current folder. Throws `invalid_handlers` (exit 78). */
export async function loadHandlers(path: string, withinMs = loadWithinMs): Promise<Handler[]> {
  const endless = `the module blocks its thread for ${withinMs} ms while it is loaded; look for a loop at its top level`;
  const blocked = await watchImport(invalidModule(path, endless).message, withinMs + reactMs);
  try {
    return await importHandlers(path, withinMs);
  } finally {
    blocked.end();
  }
}

async function importHandlers(path: string, withinMs: number): Promise<Handler[]> {
  const url = pathToFileURL(resolve(path)).href;
  let module: unknown;
  const watch = namedAtExit(path);
  try {
    module = await withLoadTimeout(importModule(url), withinMs);
  } catch (error) {
    const place = error instanceof PurserError ? undefined : await locationOfError(error, url);
    const where = place === undefined ? '' : ` (${place})`;
    throw invalidModule(path, `the module cannot be loaded: ${messageOf(error)}${where}`, error);
  } finally {
    watch.end();
  }
  try {
    const own = (name: string): unknown =>
      exported(module, name) ?? exported(exported(module, 'default'), name);
    const handlers = [...readHandlers(path, own('handlers')), ...readLookUp(path, own)];
    const schedules = own('schedules');
    if (schedules === undefined) return handlers;
    const { withSchedules } = await import('./load-schedules.ts');
    return await withSchedules(handlers, schedules, (fault, cause) => {
      throw invalidModule(path, fault, cause);
    });
  } catch (error) {
    if (error instanceof PurserError) throw error;
    // A getter or a proxy.
    throw invalidModule(path, `the module cannot be read: ${messageOf(error)}`, error);
  }
}

/** The hook `lookUpUsage`, as the handler that calls it. */
function readLookUp(path: string, own: (name: string) => unknown): Handler[] {
  const hook = own('lookUpUsage');
  if (own('lookupUsage') !== undefined) {
    throw invalidModule(path, 'lookupUsage: the hook is called lookUpUsage');
  }
  if (hook === undefined) return [];
  if (!isHook(hook)) throw invalidModule(path, 'lookUpUsage must be a function');
  return [usageLookUp(hook)];
}

/** Node finds few names that a CommonJS module exports; all of them are in its default export. */
const exported = (module: unknown, name: string): unknown =>
  typeof module === 'object' && module !== null ? Reflect.get(module, name) : undefined;

function readHandlers(path: string, list: unknown): Handler[] {
  if (!Array.isArray(list) || list.length === 0) {
    throw invalidModule(
      path,
      'the module must export `handlers`, an array of at least one handler: export const handlers = [...], or in ' +
        'CommonJS exports.handlers = [...]',
    );
  }
  const handlers = list.map((entry: unknown, index) => {
    const parsed = shape.safeParse(entry);
    const faults = [
      ...(parsed.error?.issues ?? []).map(({ path: at, message }) =>
        at.length === 0 ? message : `${at.join('.')}: ${message}`,
      ),
      ...misspelledProperties(entry),
    ];
    if (!parsed.success || faults.length > 0) {
      throw invalidModule(path, `handlers[${index}]: ${faults.join('; ')}`);
    }
    const given = parsed.data;
    try {
      return defineHandler({
        type: given.type,
        timeoutMs: given.timeoutMs,
        maxAttempts: given.maxAttempts,
        run: given.run,
        payload: given.payload ?? z.record(z.string(), z.unknown()),
        ...definedOf({
          onBudget: given.onBudget,
          giveUpAfterMs: given.giveUpAfterMs,
          concurrency: given.concurrency,
          isolation: given.isolation,
          durableBegin: given.durableBegin,
          llmTimeoutMs: given.llmTimeoutMs,
          llm: given.llm,
          backoff: given.backoff === undefined ? undefined : definedOf(given.backoff),
        }),
      });
    } catch (error) {
      throw invalidModule(path, `handlers[${index}]: ${messageOf(error)}`, error);
    }
  });
  handlers.forEach(({ type }, index) => {
    if (type === lookUpJobType) {
      const fault = `the type ${type} is that of the hook lookUpUsage; give yours another name`;
      throw invalidModule(path, `handlers[${index}]: ${fault}`);
    }
    const first = handlers.findIndex((handler) => handler.type === type);
    if (first === index) return;
    const fault = `handlers[${first}] has the type ${type} too; rename one of them`;
    throw invalidModule(path, `handlers[${index}]: ${fault}`);
  });
  return handlers;
}

const folded = (name: string): string => name.toLowerCase().replaceAll('_', '');
const properties = new Map(Object.keys(shape.shape).map((name) => [folded(name), name]));

/** Unknown properties are ignored, but one that differs from a known one only in case or `_` is a mistake. */
function misspelledProperties(entry: unknown): string[] {
  return Object.keys(entry ?? {}).flatMap((name) => {
    const known = properties.get(folded(name));
    return known === undefined || known === name
      ? []
      : [`${name}: the property is called ${known}`];
  });
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** Without the properties whose value is undefined. */
function definedOf<T extends object>(object: T): Defined<T> {
  // Object.fromEntries loses the types of the keys.
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  return Object.fromEntries(
    Object.entries(object).filter(([, value]) => value !== undefined),
  ) as Defined<T>;
}
