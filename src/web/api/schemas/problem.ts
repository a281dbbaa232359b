/** The answer to a request that was refused, as RFC 9457 has it. */
import { z } from '@hono/zod-openapi';

export const problem = z
  .object({
    type: z.literal('about:blank'),
    title: z.string(),
    status: z.int(),
    code: z.string().openapi({ description: 'A stable word, e.g. unknown_job' }),
    detail: z.string().openapi({ description: 'What is wrong and what to do, for people' }),
    errors: z
      .array(
        z.object({
          in: z.enum(['path', 'query', 'header', 'body']),
          name: z.string().openapi({ description: 'A JSON pointer into the body, or a name' }),
          detail: z.string(),
        }),
      )
      .optional(),
  })
  .openapi('Problem');
