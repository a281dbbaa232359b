/** What `ctx.sql` takes, for handlers in plain JavaScript: no compiler has read them. */
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
