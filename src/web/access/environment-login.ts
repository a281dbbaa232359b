/**
 * The login of the environment: DASHBOARD_USER and DASHBOARD_PASSWORD, the first administrator. Both sides are hashed with
 * a key of this process before a constant-time comparison.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

export interface Credentials {
  readonly user: string;
  readonly password: string;
}

export function credentialsMatcher(expected: Credentials): (given: Credentials) => boolean {
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
