/** What `ctx.sql` takes, for handlers in plain JavaScript: no compiler has read them. */
import { types } from 'node:util';
import { PurserError } from '../../errors.ts';
import { optionFault } from '../../names.ts';

const typeOf = (value: unknown): string => (value === null ? 'null' : typeof value);

function refuse(fault: string): never {
  throw new PurserError('invalid_argument', fault, { details: { class: 'fatal' } });
}

/** The driver's own `begin` takes a mode first. */
export function checkFunction(fn: unknown): void {
  if (typeof fn === 'function') return;
  refuse(
    `ctx.sql.begin: its first argument must be the function of the transaction, not ${typeOf(fn)}: ` +
      'ctx.sql.begin(async (tx) => { await tx`...` }); the isolation level cannot be chosen',
  );
}

/** Whether the transaction completes its job. Throws `invalid_argument` for options that would be ignored. */
export function isCompleting(options: unknown): boolean {
  if (options === undefined) return false;
  const { fault, complete } = readOptions(options);
  if (fault !== undefined) refuse(fault);
  if (complete !== undefined && typeof complete !== 'boolean') {
    refuse(`ctx.sql.begin: complete must be true or false, not ${typeOf(complete)}`);
  }
  return complete === true;
}

function readOptions(options: unknown): { readonly fault?: string; readonly complete?: unknown } {
  try {
    if (options !== null && typeof options === 'object') {
      const fault = optionFault('ctx.sql.begin', options, ['complete']);
      return fault === undefined ? { complete: Reflect.get(options, 'complete') } : { fault };
    }
  } catch {
    // A getter or a proxy of the handler threw.
  }
  return { fault: 'ctx.sql.begin: its options must be an object, { complete: true }' };
}

const inTransaction =
  'on the transaction of ctx.sql.begin: ' +
  "ctx.sql.begin(async (tx) => tx`select * from ${tx('name')} ${tx`where true`}`)";

/** `ctx.sql` is a tag only. Throws `invalid_argument` for the other uses of the driver's function. */
export function checkStatement(strings: unknown, values: readonly unknown[]): void {
  if (!Array.isArray(strings) || !('raw' in strings)) {
    refuse(
      `ctx.sql: it is a tag of template literals, ctx.sql\`select ...\`, and was called with ${typeOf(strings)}; ` +
        `ctx.sql.unsafe(text, parameters) runs a text, and names and lists can be made ${inTransaction}`,
    );
  }
  checkValues('ctx.sql', values);
}

/** Throws `invalid_argument` for what `ctx.sql.unsafe` does not take. */
export function checkText(text: unknown, parameters?: unknown): void {
  if (typeof text !== 'string' || (parameters !== undefined && !Array.isArray(parameters))) {
    refuse(
      `ctx.sql.unsafe: it takes a text and a list of its parameters, not ${typeOf(text)} and ${typeOf(parameters)}: ` +
        "ctx.sql.unsafe('select $1::int', [1])",
    );
  }
  checkValues('ctx.sql.unsafe', parameters ?? []);
}

/** The driver would send a promise as a text. */
function checkValues(method: string, values: readonly unknown[]): void {
  const index = values.findIndex((value) => types.isPromise(value));
  if (index === -1) return;
  // Its failure would be told in place of this one.
  for (const value of values) if (types.isPromise(value)) value.catch(() => {});
  refuse(
    `${method}: value ${index + 1} is a promise; await it first. A statement of ctx.sql runs at once, so it cannot be a ` +
      `part of another one; parts can be put together ${inTransaction}`,
  );
}
