/** Fields that several requests have. A fault says what is taken. */
import { z } from '@hono/zod-openapi';
import { isJobId, maxJobId } from '../../../job-id.ts';
import { isStorable } from '../../../names.ts';
import { maxCursorLength } from '../requests/cursors.ts';

const storable = 'has a NUL character or half of a surrogate pair';

/** Text that Postgres can be asked for. */
export const text = (maxLength: number) =>
  z
    .string()
    .min(1, 'must not be empty')
    .max(maxLength, `has at most ${maxLength} characters`)
    .refine(isStorable, storable);

export const jobId = z
  .string()
  .refine(isJobId, `must be a whole number from 1 to ${maxJobId}`)
  .openapi({
    description: 'The id of a job, as text: it is larger than a JSON number',
    example: '1042',
  });

export const tenantId = text(200).openapi({ description: 'The id of a tenant', example: 'acme' });
export const jobType = text(63).openapi({ description: 'A job type', example: 'send_report' });
export const group = text(200).openapi({
  description: 'What jobs share a limit with, beside their tenant and type',
  example: 'user:42',
});

/** One line of the record. */
export const reason = z
  .string()
  .trim()
  .min(1, 'must not be empty')
  .max(500, 'has at most 500 characters')
  .refine((given) => isStorable(given) && !/\p{Cc}/u.test(given), 'must be one line of text')
  .openapi({ description: 'Why, for the record', example: 'provider is down' });

const usdForm = /^\d{1,9}(\.\d{1,9})?$/;
export const usd = z
  .string()
  .regex(usdForm, 'must be US dollars as text with at most 9 decimals, e.g. "5.00"')
  .openapi({ description: 'US dollars with at most 9 decimals, as text', example: '5.00' });

export const reservationId = z
  .uuid('must be the id of a reservation, a UUID')
  .openapi({ description: 'The id of a reservation' });

/** With its zone. */
export const time = z.iso
  .datetime({
    offset: true,
    abort: true,
    error: 'must be a time with its zone, e.g. 2026-12-01T08:00:00Z',
  })
  .refine((given) => !Number.isNaN(Date.parse(given)), 'is no time')
  .openapi({ example: '2026-12-01T08:00:00Z' });

const maxLimit = 200;
export const limit = z
  .string()
  .regex(/^[1-9]\d{0,2}$/, `must be a whole number from 1 to ${maxLimit}`)
  .transform(Number)
  .refine((given) => given <= maxLimit, `must be a whole number from 1 to ${maxLimit}`)
  .default(50)
  .openapi({ type: 'integer', minimum: 1, maximum: maxLimit, default: 50 });

/** Checked by the list that it is of. */
const cursor = z
  .string()
  .optional()
  .openapi({ description: '`next` of the page before', maxLength: maxCursorLength });

export const pageQuery = { limit, cursor };

/** A page of a list, with the cursor of the next one. */
export const pageOfItems = <T extends z.ZodType>(item: T) =>
  z.object({
    items: z.array(item),
    next: z.string().nullable().openapi({ description: 'The cursor; null: the last page' }),
  });

/** Times of answers. */
export const at = z.string().openapi({ format: 'date-time', example: '2026-12-01T08:00:00.000Z' });
export const amount = z
  .string()
  .openapi({ description: 'US dollars, exact, as text', example: '0.0123' });
/** Figures and names whose form depends on their kind. */
export const facts = z.record(z.string(), z.unknown());
