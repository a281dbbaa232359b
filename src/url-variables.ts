/** Types of environment variables that are URLs, each with the message for a wrong value. */
import { z } from 'zod';
import { messageOf } from './errors.ts';
import { postgresAddress } from './tls.ts';

/** Honours and refuses what the drivers' connections do. */
export const postgresUrl = z.string().superRefine((text, context) => {
  try {
    const { database } = postgresAddress(text, undefined);
    if (database === undefined) context.addIssue('is not a Postgres URL with a database name');
  } catch (error) {
    context.addIssue(`cannot be used: ${messageOf(error)}`);
  }
});
/** Each fault gets its own message, in this order; the client would find them with the first command, or not at all. */
export const redisUrl = z.string().superRefine((text, context) => {
  const fault = redisFault(text);
  if (fault !== undefined) context.addIssue(fault);
});
/** The base of the requests to a provider: a path is appended, and fetch sends no credentials of a URL. */
export const baseUrl = z.string().superRefine((text, context) => {
  const fault = baseFault(text);
  if (fault !== undefined) context.addIssue(fault);
});

function redisFault(text: string): string | undefined {
  if (text !== text.trim() || !isUrl(text, ['redis:', 'rediss:'])) return 'is not a Redis URL';
  const { hostname, pathname, username, password, searchParams, hash } = new URL(text);
  if (hostname === '') return 'names no host; sockets are not supported';
  if (!/^\/?$|^\/\d{1,5}$/.test(pathname)) return 'has a path that is not the number of a database';
  if (!isEncoded(username) || !isEncoded(password)) {
    return 'has a % that is not followed by two hexadecimal digits; write % as %25';
  }
  if (hash !== '') return 'has a fragment; write # as %23';
  const unknown = [...searchParams].find(
    ([name, value]) => name !== 'family' || !/^[046]$/.test(value),
  );
  return unknown === undefined
    ? undefined
    : `has the parameter ${unknown[0]}, which is not supported; only family=4 and family=6 are`;
}

function baseFault(text: string): string | undefined {
  if (text !== text.trim() || !isUrl(text, ['http:', 'https:'])) return 'is not an http(s) URL';
  const { username, password } = new URL(text);
  if (username !== '' || password !== '') {
    return 'contains a user or password, which no request would carry; put a key into the variable for it';
  }
  return /[?#]/.test(text) ? 'has a query or fragment, but a path is appended to it' : undefined;
}

/** Also percent-encoded octets that are not UTF-8 cannot be decoded. */
function isEncoded(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

function isUrl(text: string, protocols: readonly string[]): boolean {
  return URL.canParse(text) && protocols.includes(new URL(text).protocol);
}
