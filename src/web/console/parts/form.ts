/** What pages take from queries and forms. A wrong value is answered 400, with the name of its field and what it takes. */
import type { Context } from 'hono';
import { z } from 'zod';
import { messageOf, PurserError } from '../../../errors.ts';
import { isJobId, maxJobId } from '../../../job-id.ts';
import { isStorable } from '../../../names.ts';
import type { WebEnv } from '../../web-env.ts';
import { csrfField } from '../../access/csrf.ts';

export const maxReasonLength = 500;

/** A field that is left empty names nothing. */
function optional<T>(type: z.ZodType<T, string>) {
  return z.union([z.literal('').transform(() => undefined), type]).optional();
}

/** Any text of at most so many characters. */
export const textField = (maxLength = 200) =>
  optional(
    z
      .string()
      .refine(
        (text) => text.length <= maxLength && isStorable(text),
        `takes a text of at most ${maxLength} characters, without NUL`,
      ),
  );

/** An id of a job, or of another row. */
export const idField = () =>
  optional(z.string().refine(isJobId, `takes a whole number from 1 to ${maxJobId}`));

export const choiceField = <T extends string>(options: readonly [T, ...T[]]) =>
  optional(z.enum(options, { error: () => `takes one of ${options.join(', ')}` }));

export const wholeField = (min: number, max: number) =>
  z
    .string({ error: `is needed: a whole number from ${min} to ${max}` })
    .refine(
      (text) => /^\d{1,9}$/.test(text) && Number(text) >= min && Number(text) <= max,
      `takes a whole number from ${min} to ${max}`,
    )
    .transform(Number);

/** The same, where nothing needs to be given. */
export const optionalWholeField = (min: number, max: number) => optional(wholeField(min, max));

const fingerprintShape = /^\d{1,4}-[0-9a-f]{16}$/;

/** Of a group of failures. */
export const fingerprintField = () =>
  optional(
    z
      .string()
      .regex(
        fingerprintShape,
        'takes a number, - and 16 hexadecimal digits, as /failures shows it',
      ),
  );

/** Words of an error. */
export const wordsField = () =>
  optional(
    z
      .string()
      .refine(
        (text) => text.length <= 1_000 && isStorable(text) && /[^\s!-/:-@[-`{-~]/.test(text),
        'takes words of at most 1000 characters',
      ),
  );

const unitMs: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 };
const timeShape = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?Z)?$/;

/** An age or a time as it was given, and the point in time that it means now. */
export interface Since {
  readonly text: string;
  readonly at: Date;
}

function sinceOf(text: string): Since | undefined {
  const [, digits, unit = ''] = /^(\d{1,5})([mhd])$/.exec(text) ?? [];
  if (digits !== undefined) {
    return { text, at: new Date(Date.now() - Number(digits) * (unitMs[unit] ?? 0)) };
  }
  const at = new Date(text);
  const isTime = timeShape.test(text) && !Number.isNaN(at.getTime()) && at.getTime() >= 0;
  // JavaScript takes the 31st of February for the 3rd of March.
  return isTime && at.toISOString().startsWith(text.slice(0, 10)) ? { text, at } : undefined;
}

export const sinceField = () =>
  optional(
    z.string().transform((text, context) => {
      const since = sinceOf(text);
      if (since !== undefined) return since;
      context.addIssue({
        code: 'custom',
        message:
          'takes an age such as 30m, 12h or 7d, a date, or a time in UTC such as 2026-12-01T08:00Z',
      });
      return z.NEVER;
    }),
  );

/** One line, as every act that is recorded with its reason needs it. */
export const reasonField = () =>
  z
    .string({ error: 'is needed: say why, for the record' })
    .transform((text) => text.trim())
    .refine((text) => text !== '', 'is needed: say why, for the record')
    .refine(
      (text) => text.length <= maxReasonLength && isStorable(text) && !/\p{Cc}/u.test(text),
      `takes one line of at most ${maxReasonLength} characters`,
    );

/** The same, where none needs to be given. */
export const optionalReasonField = () =>
  z
    .union([
      z
        .string()
        .regex(/^\s*$/)
        .transform(() => undefined),
      reasonField(),
    ])
    .optional();

type Shape = z.ZodRawShape;

/** A JSON object. */
export const objectField = () =>
  z.string({ error: 'is needed' }).transform((text, context): object => {
    try {
      const value: unknown = JSON.parse(text);
      if (value !== null && typeof value === 'object' && !Array.isArray(value)) return value;
      context.addIssue({ code: 'custom', message: 'takes a JSON object, such as {"days": 30}' });
    } catch (error) {
      const message = `takes a JSON object, and this is no JSON: ${messageOf(error)}`;
      context.addIssue({ code: 'custom', message });
    }
    return z.NEVER;
  });

/** Fields of the query. Throws `invalid_query` (400), also for a field that the page does not have. */
export function readQuery<S extends Shape>(c: Context<WebEnv>, shape: S) {
  const query: Record<string, string> = c.req.query();
  return checked(z.strictObject(shape), query, 'invalid_query');
}

/** Fields of a form that was sent. Throws `invalid_form` (400). */
export async function readForm<S extends Shape>(c: Context<WebEnv>, shape: S) {
  const { [csrfField]: _csrf, ...fields } = await c.req.parseBody();
  return checked(z.strictObject(shape), fields, 'invalid_form');
}

function checked<S extends Shape>(schema: z.ZodObject<S>, fields: object, code: string) {
  const { success, data, error } = schema.safeParse(fields);
  if (success) return data;
  throw new PurserError(code, faultOf(error, Object.keys(schema.shape)), { status: 400 });
}

function faultOf({ issues: [issue] }: z.ZodError, known: readonly string[]): string {
  if (issue?.code === 'unrecognized_keys') {
    const field = JSON.stringify(String(issue.keys[0]).slice(0, 60));
    return `there is no field ${field} here; there is ${known.join(', ') || 'none'}`;
  }
  const field = String(issue?.path[0] ?? 'the form');
  return `the field ${field} ${faultText(issue) ?? 'has a value that is not allowed'}`;
}

/** Of a union, the fault of its last part: the others are for an empty field. */
function faultText(issue: z.core.$ZodIssue | undefined): string | undefined {
  if (issue?.code !== 'invalid_union') return issue?.message;
  return faultText(issue.errors.at(-1)?.[0]);
}

/** The id of a row in the path. Throws `not_found` (404) for what can be none. */
export function idOf(c: Context<WebEnv>, what: string): string {
  const id = c.req.param('id') ?? '';
  if (isJobId(id)) return id;
  throw new PurserError('not_found', `there is no ${what} ${JSON.stringify(id.slice(0, 60))}`, {
    status: 404,
  });
}
