/**
 * Passwords: every check of one passes the limits on the pace of logins, and a wrong one is answered late. The user name of
 * the environment's login is its own: an operator of the same name has no way in.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Context } from 'hono';
import type { Sql } from '../../db/connect.ts';
import type { Logger } from '../../log.ts';
import { isStorable } from '../../names.ts';
import { findOperator } from '../../operations/operators/operators.ts';
import { passwordMatches } from '../../operations/operators/passwords.ts';
import type { WebEnv } from '../web-env.ts';
import { clientAddressReader } from './client-address.ts';
import { readCookie } from './cookies.ts';
import { deviceOf } from './device-cookie.ts';
import { credentialsMatcher } from './environment-login.ts';
import type { Credentials } from './environment-login.ts';
import { createLoginLimits, loginPaces as defaultPaces } from './login-limits.ts';
import type { LoginAttempt, LoginPaces } from './login-limits.ts';

export interface LogInOptions {
  readonly sql: Sql;
  readonly credentials: Credentials;
  readonly trustedProxies: readonly string[];
  readonly loginPaces?: LoginPaces | undefined;
  readonly log: Logger;
}

/** `proof` is what `startSession` takes. */
export type LogInResult =
  | { readonly outcome: 'matches'; readonly proof: Credentials | { readonly passwordHash: string } }
  | { readonly outcome: 'wrong' }
  | { readonly outcome: 'too_many'; readonly retryAfterSeconds: number };

export interface LogIn {
  clientAddress(c: Context<WebEnv>): string;
  /** The environment's login only, without the database: for programs that send it with every request. */
  checkEnvironment(c: Context<WebEnv>, given: Credentials): Promise<LogInResult>;
  /** The environment's login, or a named operator's. */
  check(c: Context<WebEnv>, given: Credentials): Promise<LogInResult>;
}

export function createLogIn(options: LogInOptions): LogIn {
  const { sql, credentials, log } = options;
  const addressOf = clientAddressReader(options.trustedProxies);
  const matchesEnvironment = credentialsMatcher(credentials);
  const paces = options.loginPaces ?? defaultPaces;
  const limits = createLoginLimits(paces);
  const clientAddress = (c: Context<WebEnv>): string =>
    addressOf(c.env.incoming?.socket.remoteAddress, c.req.header('x-forwarded-for'));

  const inTurn = async (
    attempt: LoginAttempt,
    matches: () => Promise<boolean>,
    proof: (Credentials | { readonly passwordHash: string }) | undefined,
  ): Promise<LogInResult> => {
    const admission = limits.admit(attempt, performance.now());
    if (!admission.turn) {
      return { outcome: 'too_many', retryAfterSeconds: admission.retryAfterSeconds };
    }
    if (admission.waitMs > 0) await sleep(admission.waitMs);
    const late = sleep(paces.wrongAfterMs);
    if ((await matches()) && proof !== undefined) {
      limits.succeeded(attempt);
      return { outcome: 'matches', proof };
    }
    // The name may be a password that was typed into the wrong field.
    log.warn({ address: attempt.address }, 'login_refused');
    await late;
    return { outcome: 'wrong' };
  };

  const checkEnvironment: LogIn['checkEnvironment'] = (c, given) =>
    inTurn(
      { address: clientAddress(c), account: given.user },
      () => Promise.resolve(matchesEnvironment(given)),
      credentials,
    );

  return {
    clientAddress,
    checkEnvironment,
    check: async (c, given) => {
      const { user, password } = given;
      const address = clientAddress(c);
      const device = readCookie(c, 'purser_device');
      if (user === credentials.user) {
        const known = deviceOf(device, credentials.password, user);
        return inTurn(
          { address, account: user, device: known },
          () => Promise.resolve(matchesEnvironment(given)),
          credentials,
        );
      }
      const stored = isStorable(user) ? await findOperator(sql, user) : undefined;
      const known = deviceOf(device, stored?.passwordHash, user);
      return inTurn(
        { address, account: user, device: known },
        () => passwordMatches(password, stored?.passwordHash),
        stored === undefined ? undefined : { passwordHash: stored.passwordHash },
      );
    },
  };
}
