/**
 * HTTP Basic login. Both sides are hashed with a key of this process before a constant-time comparison. Every
 * wrong password is answered with a delay and counted; too many are refused with 429 for the rest of a minute.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { createMiddleware } from 'hono/factory';
import { auth } from 'hono/utils/basic-auth';
import type { MiddlewareHandler } from 'hono';
import type { Logger } from '../log.ts';
import { clientAddressReader } from './client-address.ts';
import { createLoginLimits } from './login-limits.ts';
import type { WebEnv } from './web-env.ts';

export interface Credentials {
  readonly user: string;
  readonly password: string;
}

const wrongPasswordDelayMs = 250;

function matcher(expected: Credentials): (given: Credentials) => boolean {
  const key = randomBytes(32);
  const digest = (text: string): Buffer => createHmac('sha256', key).update(text).digest();
  const user = digest(expected.user);
  const password = digest(expected.password);
  return (given) => {
    const userMatches = timingSafeEqual(digest(given.user), user);
    const passwordMatches = timingSafeEqual(digest(given.password), password);
    return userMatches && passwordMatches;
  };
}

/** Answers 401 (429 after too many wrong passwords), or sets `operator` and calls the next handler. */
export function requireLogin(
  expected: Credentials,
  trustedProxies: readonly string[],
  log: Logger,
): MiddlewareHandler<WebEnv> {
  const matches = matcher(expected);
  const clientAddress = clientAddressReader(trustedProxies);
  const limits = createLoginLimits();
  return createMiddleware<WebEnv>(async (c, next) => {
    const address = clientAddress(
      c.env.incoming?.socket.remoteAddress,
      c.req.header('x-forwarded-for'),
    );
    const given = auth(c.req.raw);
    if (given !== undefined) {
      const attempt = { address, account: given.username };
      const waitSeconds = limits.retryAfterSeconds(attempt, performance.now());
      if (waitSeconds > 0) {
        return c.text('Too many wrong passwords.\n', 429, { 'Retry-After': String(waitSeconds) });
      }
      if (matches({ user: given.username, password: given.password })) {
        limits.succeeded(attempt);
        c.set('operator', expected.user);
        await next();
        return undefined;
      }
      // Counted before the delay, so that parallel guesses cannot pass the limit.
      limits.failed(attempt, performance.now());
      log.warn({ address }, 'login_refused');
      await sleep(wrongPasswordDelayMs);
    }
    return c.text('Login required.\n', 401, {
      'WWW-Authenticate': 'Basic realm="Purser", charset="UTF-8"',
    });
  });
}
