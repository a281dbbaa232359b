/**
 * Handlers of the user's own module (PURSER_HANDLERS): `export const handlers = [...]`, made by
 * defineHandler or plain objects. A module that does not load names its fault and exits 78.
 */
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { z } from 'zod';
import { exitCodes, messageOf, PurserError } from '../errors.ts';
import { defineHandler } from './define.ts';
import { placeOfFault } from './fault-place.ts';
import type { Handler, JobContext } from './define.ts';

type Run = (ctx: JobContext<unknown>) => Promise<unknown>;
const isFunction = (value: unknown): value is Run => typeof value === 'function';

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
  backoff: z.object({ baseMs: z.number().optional(), capMs: z.number().optional() }).optional(),
  run: z.custom<Run>(isFunction, { error: 'must be a function' }),
});

function refuse(path: string, fault: string, cause?: unknown): PurserError {
  return new PurserError('invalid_handlers', `PURSER_HANDLERS=${path}: ${fault}`, {
    exitCode: exitCodes.configuration,
    cause,
  });
}

const loadWithinMs = 30_000;

/** A module that waits for ever at its top level would end a process without a word, or keep it waiting. */
async function loaded(module: Promise<unknown>): Promise<unknown> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`an await at its top level has not ended within ${loadWithinMs} ms`)),
      loadWithinMs,
    );
  });
  return Promise.race([module, late]).finally(() => clearTimeout(timer));
}

/** Loads the module, relative to the current folder. Throws `invalid_handlers` (exit 78). */
export async function loadHandlers(path: string): Promise<Handler[]> {
  const url = pathToFileURL(resolve(path)).href;
  let module: unknown;
  try {
    module = await loaded(import(url));
  } catch (error) {
    const place = await placeOfFault(error, url);
    const where = place === undefined ? '' : ` (${place})`;
    throw refuse(path, `the module does not load: ${messageOf(error)}${where}`, error);
  }
  const list: unknown =
    typeof module === 'object' && module !== null && 'handlers' in module
      ? module.handlers
      : undefined;
  if (!Array.isArray(list) || list.length === 0) {
    throw refuse(path, 'the module must export `handlers`, a list with at least one handler');
  }
  const handlers = list.map((entry: unknown, index) => {
    const parsed = shape.safeParse(entry);
    const faults = [
      ...(parsed.error?.issues ?? []).map((issue) => `${issue.path.join('.')}: ${issue.message}`),
      ...misspelt(entry),
    ];
    if (!parsed.success || faults.length > 0) {
      throw refuse(path, `handlers[${index}]: ${faults.join('; ')}`);
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
          backoff: given.backoff === undefined ? undefined : definedOf(given.backoff),
        }),
      });
    } catch (error) {
      throw refuse(path, `handlers[${index}]: ${messageOf(error)}`, error);
    }
  });
  handlers.forEach(({ type }, index) => {
    const first = handlers.findIndex((handler) => handler.type === type);
    if (first === index) return;
    const fault = `the type ${type} is that of handlers[${first}] too; give one another name`;
    throw refuse(path, `handlers[${index}]: ${fault}`);
  });
  return handlers;
}

const folded = (name: string): string => name.toLowerCase().replaceAll('_', '');
const properties = new Map(Object.keys(shape.shape).map((name) => [folded(name), name]));

/** A property of the module's own is its own affair; one that differs from ours by its writing is a mistake. */
function misspelt(entry: unknown): string[] {
  return Object.keys(entry ?? {}).flatMap((name) => {
    const meant = properties.get(folded(name));
    return meant === undefined || meant === name ? [] : [`${name}: write it ${meant}`];
  });
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** The properties that are there: an optional one that is undefined is left out. */
function definedOf<T extends object>(object: T): Defined<T> {
  // Object.fromEntries forgets the keys' types.
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  return Object.fromEntries(
    Object.entries(object).filter(([, value]) => value !== undefined),
  ) as Defined<T>;
}
