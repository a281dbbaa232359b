/** Types of environment variables, each with the message for a wrong value. */
import { isIP } from 'node:net';
import { z } from 'zod';
import { messageOf } from './errors.ts';
import { nameFault } from './names.ts';
import type { NameKind } from './names.ts';
import { postgresAddress } from './tls.ts';
import { authorityOf, isPort, parametersOf, parameterText, partFault } from './url-text.ts';
import { invisibleFault, portFault, urlTextFault } from './url-text.ts';

export const flag = z
  .enum(['true', 'false'], { error: 'must be true or false' })
  .transform((text) => text === 'true');
export const wholeNumber = (min: number, max: number) =>
  z
    .string()
    .refine((text) => /^\d{1,9}$/.test(text) && Number(text) >= min && Number(text) <= max, {
      error: `must be a whole number from ${min} to ${max}`,
    })
    .transform(Number);
const mostPauses = 10;
const longestPauseSeconds = 3_600;
/** Seconds with commas between them; milliseconds in code. */
export const pauses = z
  .string()
  .refine(
    (text) => {
      const parts = text.split(',');
      return (
        parts.length <= mostPauses &&
        parts.every(
          (part) => /^\d{1,4}(\.\d{1,3})?$/.test(part) && Number(part) <= longestPauseSeconds,
        )
      );
    },
    {
      error: `must be at most ${mostPauses} numbers of seconds up to ${longestPauseSeconds}, such as 1,2,4`,
    },
  )
  .transform((text): readonly number[] => text.split(',').map((part) => Number(part) * 1_000));
export const salt = z
  .string()
  .refine((text) => /^[A-Za-z0-9+/]{43}=$/.test(text), { error: 'is not 32 bytes in base64' });

/** A secret that a person chose. An invisible end is a mistake of the tool that set it, and would be part of the secret. */
export const secret = (minimum: number) =>
  z
    .string()
    .min(minimum, { error: `must have ${minimum} characters or more` })
    .superRefine((text, context) => {
      const fault = invisibleFault(text);
      if (fault !== undefined) context.addIssue(fault);
    });

/** Names that are sent in a header: others would fail with the first request, or be sent changed. */
const headerText = z.string().refine((text) => /^[!-~]([ -~]*[!-~])?$/.test(text), {
  error: 'must be printable ASCII text without blanks at its ends',
});
/** A provider's key, which a header carries behind `Bearer` or as it is. */
export const apiKey = z.string().superRefine((text, context) => {
  if (/^bearer\b/i.test(text)) {
    context.addIssue('begins with Bearer, which is added to it; give the key alone');
  } else if (!/^[!-~]+$/.test(text)) {
    context.addIssue('must be printable ASCII text without blanks');
  } else if (/^["']|["']$/.test(text)) {
    context.addIssue('has a quote at an end; remove it');
  }
});

const nameText = (kind: NameKind) =>
  headerText.superRefine((text, context) => {
    const fault = nameFault(kind, text);
    if (fault !== undefined) context.addIssue({ code: 'custom', message: `is refused: ${fault}` });
  });

export const model = nameText('model');

const timeoutFault =
  'must be a whole number from 1 to 600, then as needed those of single models, such as 30,o3=120';
const isTimeout = (text: string): boolean => /^[1-9]\d{0,2}$/.test(text) && Number(text) <= 600;

/** Seconds of a call, and those of models with another timeout; milliseconds in code. */
export const llmTimeouts = z.string().transform((text, context) => {
  const [usual = '', ...others] = text.split(',');
  const byModel = new Map<string, number>();
  let isValid = isTimeout(usual);
  for (const other of others) {
    const at = other.lastIndexOf('=');
    const name = other.slice(0, Math.max(0, at)).trim();
    const seconds = other.slice(at + 1);
    isValid &&= isTimeout(seconds) && model.safeParse(name).success && !byModel.has(name);
    byModel.set(name, Number(seconds) * 1_000);
  }
  if (!isValid) context.addIssue({ code: 'custom', message: timeoutFault });
  return { usualMs: Number(usual) * 1_000, byModelMs: byModel };
});
/** A browser sends it before the first colon of its header. */
export const user = nameText('operator').refine((text) => !text.includes(':'), {
  error: 'must not contain a colon',
});

/** A comma-separated list of addresses and networks; a network of all addresses would trust every client. */
export const networks = z
  .string()
  .transform((text) => text.split(',').map((entry) => entry.trim()))
  .refine((entries) => entries.every(isNetwork), {
    error: 'must be a comma-separated list of IP addresses and networks',
  });

function isNetwork(entry: string): boolean {
  const [address = '', prefix, ...more] = entry.split('/');
  const version = isIP(address);
  if (version === 0 || more.length > 0) return false;
  if (prefix === undefined) return true;
  return /^[1-9]\d{0,2}$/.test(prefix) && Number(prefix) <= (version === 4 ? 32 : 128);
}

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
/**
 * The base of the requests to a provider: the path of an operation is appended, and fetch sends no credentials of a
 * URL. `models`: also what precedes the name of a model is appended.
 */
export const baseUrl = (appended: 'operation' | 'models' = 'operation') =>
  z.string().superRefine((text, context) => {
    const fault = baseFault(text, appended);
    if (fault !== undefined) context.addIssue(fault);
  });

function redisFault(text: string): string | undefined {
  const fault = urlTextFault(text);
  if (fault !== undefined) return fault;
  const parts = /^rediss?:/i.test(text) ? authorityOf(text) : undefined;
  if (parts === undefined) return 'is not a Redis URL such as redis://user:password@host:6379';
  const { login = '', host, port = '', rest } = parts;
  if (host === '') return 'names no host; sockets are not supported';
  if (host.includes(','))
    return 'names several hosts, which are not supported; name the primary or a proxy';
  if (port !== '' && !isPort(port)) return portFault;
  if (!URL.canParse(text)) return 'is not a Redis URL such as redis://user:password@host:6379';
  if (host.includes('%')) return 'has a % in its host; sockets are not supported';
  const loginFault = partFault(login);
  if (loginFault !== undefined) return loginFault;
  const [user = '', ...password] = login.split(':');
  // The client would send neither, and the server would take it for the default user.
  if (!['', 'default'].includes(user) && password.join(':') === '') {
    return 'has a user and no password, so no login would be sent; write user:password@host, or :password@host';
  }
  if (text.includes('#')) return 'has a fragment; write # as %23';
  if (!/^(?:\/\d{0,5})?(?:\?|$)/.test(rest))
    return 'has a path that is not the number of a database';
  const given = parametersOf(rest);
  const unknown = given.find(([name, value]) => name !== 'family' || !/^[046]$/.test(value));
  if (unknown === undefined) return undefined;
  const names = given.map(([name]) => name);
  return `has ${parameterText(...unknown, names)}, which is not supported; only family=4 and family=6 are`;
}

/** Paths of requests, which belong to no base. */
const operation = /\/(?:completions|messages|responses|embeddings)\/*$|:\w*generateContent\/*$/i;

function baseFault(text: string, appended: 'operation' | 'models'): string | undefined {
  const fault = urlTextFault(text);
  if (fault !== undefined) return fault;
  // A parser would take http:host, http:/host and http:\\host for the same.
  const parts = /^https?:/i.test(text) && !text.includes('\\') ? authorityOf(text) : undefined;
  if (parts === undefined || parts.host === '') return 'is not an http(s) URL';
  if (parts.port !== undefined && parts.port !== '' && !isPort(parts.port)) return portFault;
  if (!URL.canParse(text)) return 'is not an http(s) URL';
  if (parts.login !== undefined) {
    return 'contains a user or password, which no request would carry; put a key into the variable for it';
  }
  if (/[?#]/.test(text)) return 'has a query or fragment, but a path is appended to it';
  const pathFault = partFault(parts.rest);
  if (pathFault !== undefined) return pathFault;
  if (operation.test(text) || (appended === 'models' && /\/models(?:\/[^/]*)?\/*$/i.test(text))) {
    return 'ends in the path of a request, which is appended to it; give the part before that path';
  }
  return undefined;
}

/** Without credentials, which would be logged with the URL. */
const webhookUrl = z.string().superRefine((text, context) => {
  const fault = urlTextFault(text);
  if (fault !== undefined) context.addIssue(fault);
  else if (!URL.canParse(text) || !/^https?:\/\//i.test(text)) {
    context.addIssue('is not a URL such as https://example.com/alerts');
  } else if (new URL(text).username !== '' || new URL(text).password !== '') {
    context.addIssue('contains a login, which is not sent; put a token into the path or the query');
  }
});

/** Where alerts of money go. */
export const alertVariables = {
  ALERT_WEBHOOK_URL: webhookUrl.optional().meta({
    description:
      'Receives the alerts of budgets (50, 80 and 100 % of a limit, calls beyond their hold) as signed requests',
    example: 'https://example.com/purser-alerts',
  }),
  ALERT_WEBHOOK_SECRET: secret(24).optional().meta({
    description: 'Signs these requests (HMAC-SHA256). Required with ALERT_WEBHOOK_URL',
    example: 'the output of: purser keys generate-key',
  }),
  ALERT_WEBHOOK_PRIVATE: flag.prefault('false').meta({
    description: 'true allows a URL on this machine or in a private network, and without TLS',
    example: 'true',
  }),
};
