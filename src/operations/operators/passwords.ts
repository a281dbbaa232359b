/**
 * Hashes of passwords: scrypt with a salt of their own, at most two at a time in a process, because each takes 32 MiB and
 * a thread of the pool that file and DNS requests need too.
 */
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { PurserError } from '../../errors.ts';
import { createTurns } from './turns.ts';

interface Parameters {
  readonly N: number;
  readonly r: number;
  readonly p: number;
}

/** As OWASP's password storage cheat sheet recommends for 32 MiB. */
const current: Parameters = { N: 2 ** 15, r: 8, p: 3 };
const hashBytes = 32;
const atOnce = 2;
const minLength = 12;
const maxBytes = 1_024;

const inTurn = createTurns(atOnce);

const derive = (password: string, salt: Buffer, parameters: Parameters): Promise<Buffer> =>
  inTurn(
    () =>
      new Promise((resolve, reject) => {
        const options = { ...parameters, maxmem: 256 * parameters.N * parameters.r };
        scrypt(password, salt, hashBytes, options, (error, hash) =>
          error === null ? resolve(hash) : reject(error),
        );
      }),
  );

const textOf = ({ N, r, p }: Parameters, salt: Buffer, hash: Buffer): string =>
  ['scrypt', N, r, p, salt.toString('base64url'), hash.toString('base64url')].join('$');

/** As it is stored: `scrypt$N$r$p$salt$hash`. Throws `invalid_password`. */
export async function hashPassword(password: string): Promise<string> {
  const fault = passwordFault(password);
  if (fault !== undefined) throw new PurserError('invalid_password', `the password ${fault}`);
  const salt = randomBytes(16);
  return textOf(current, salt, await derive(password, salt, current));
}

function passwordFault(password: string): string | undefined {
  if (Array.from(password).length < minLength) {
    return `must have ${minLength} characters or more`;
  }
  if (Buffer.byteLength(password) > maxBytes) return `must have ${maxBytes} bytes or fewer`;
  return new Set(password).size < 5 ? 'has too few different characters' : undefined;
}

/** Of no password: it takes as long to compare with. */
const unmatched = textOf(current, Buffer.alloc(16), Buffer.alloc(hashBytes));

/** Whether the password has this hash. Without one it is compared with nothing, in the same time, and is false. */
export async function passwordMatches(
  password: string,
  stored: string | undefined,
): Promise<boolean> {
  const [, N, r, p, salt = '', hash = ''] = (stored ?? unmatched).split('$');
  const parameters = { N: Number(N), r: Number(r), p: Number(p) };
  const expected = Buffer.from(hash, 'base64url');
  // A longer one is not a password of anybody, and would take longer.
  const text = Buffer.byteLength(password) > maxBytes ? '' : password;
  const found = await derive(text, Buffer.from(salt, 'base64url'), parameters);
  const same = expected.length === found.length && timingSafeEqual(expected, found);
  return same && stored !== undefined;
}
