/** The shapes of variables that hold a URL: what is no URL of the right kind is refused at start. */
import { z } from 'zod';

export const postgresUrl = z
  .string()
  .refine(
    (text) => isUrl(text, ['postgres:', 'postgresql:']) && new URL(text).pathname.length > 1,
    { error: 'is not a Postgres URL with a database name' },
  )
  // libpq reads it, the drivers for Node do not agree on it: the pools and the queues would part.
  .refine((text) => !URL.canParse(text) || !new URL(text).searchParams.has('host'), {
    error:
      'names its host in a parameter, which is not read; put it between the @ and the database',
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
