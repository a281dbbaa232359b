/** Types of environment variables that are URLs, each with the message for a wrong value. */
import { z } from 'zod';

export const postgresUrl = z
  .string()
  .refine(
    (text) => isUrl(text, ['postgres:', 'postgresql:']) && new URL(text).pathname.length > 1,
    { error: 'is not a Postgres URL with a database name' },
  )
  // libpq reads this parameter, but of the Node drivers only some do: pools and queues would use different hosts.
  .refine((text) => !URL.canParse(text) || !new URL(text).searchParams.has('host'), {
    error:
      'has its host in a query parameter, which is not supported; write it between the @ and the database',
  });
export const redisUrl = z
  .string()
  .refine((text) => isUrl(text, ['redis:', 'rediss:']), { error: 'is not a Redis URL' });
export const httpUrl = z
  .string()
  .refine((text) => isUrl(text, ['http:', 'https:']), { error: 'is not an http(s) URL' });

function isUrl(text: string, protocols: readonly string[]): boolean {
  return URL.canParse(text) && protocols.includes(new URL(text).protocol);
}
