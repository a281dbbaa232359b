/**
 * What a browser keeps after a login, and shows at its next one: that it logged in as this account before. It grants no
 * access; it has the guesses of others not delay the login. It ends with the password, from whose hash it is made.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

const nonceLength = 22;

const macOf = (secret: string, account: string, nonce: string): Buffer =>
  createHmac('sha256', secret)
    .update(JSON.stringify(['device', account, nonce]))
    .digest();

/** `secret`: the stored hash of the account's password; of the login of the environment its password. */
export function newDevice(secret: string, account: string): string {
  const nonce = randomBytes(16).toString('base64url');
  return nonce + macOf(secret, account, nonce).toString('base64url');
}

/** The id of a browser that logged in as this account with this password, or undefined. */
export function deviceOf(
  cookie: string | undefined,
  secret: string | undefined,
  account: string,
): string | undefined {
  if (cookie === undefined || secret === undefined) return undefined;
  const nonce = cookie.slice(0, nonceLength);
  const given = Buffer.from(cookie.slice(nonceLength), 'base64url');
  const expected = macOf(secret, account, nonce);
  const matches = given.length === expected.length && timingSafeEqual(given, expected);
  return matches ? nonce : undefined;
}
