/**
 * What a write has to bring beside its login: a browser's session its CSRF token as a header, since cookies and passwords
 * are sent by a browser whatever page asks; and an Idempotency-Key where a repetition would act again.
 */
import type { Context, MiddlewareHandler } from 'hono';
import { createMiddleware } from 'hono/factory';
import { timingSafeEqual } from 'node:crypto';
import { PurserError } from '../../../errors.ts';
import type { WebEnv } from '../../web-env.ts';

const csrfHeader = 'X-CSRF-Token';
export const keyHeader = 'Idempotency-Key';

/** Throws `csrf` (403). A bearer token is sent by a program, which no page can make do so. */
export const requireCsrfHeader = (): MiddlewareHandler<WebEnv> =>
  createMiddleware<WebEnv>(async (c, next) => {
    const { csrf } = c.get('access');
    if (csrf !== undefined && !isSame(csrf, c.req.header(csrfHeader) ?? '')) {
      throw new PurserError(
        'csrf',
        `a write with a session needs the header ${csrfHeader} with the token of a page's form; programs use a token: ` +
          'purser tokens add',
        { status: 403 },
      );
    }
    await next();
  });

function isSame(expected: string, given: string): boolean {
  const [one, other] = [Buffer.from(expected), Buffer.from(given)];
  return one.length === other.length && timingSafeEqual(one, other);
}

export type KeyRule = 'required' | 'optional';

const keyForm = /^[\x21-\x7e]{1,255}$/;

/** Throws `idempotency_key_required` and `invalid_idempotency_key` (400). */
export const requireKey = (rule: KeyRule): MiddlewareHandler<WebEnv> =>
  createMiddleware<WebEnv>(async (c, next) => {
    const key = keyOf(c);
    if (key === undefined && rule === 'required') {
      throw new PurserError(
        'idempotency_key_required',
        `this write needs the header ${keyHeader}: a new text for each request, such as a UUID, and the same one when it is sent again`,
        { status: 400 },
      );
    }
    if (key !== undefined && !keyForm.test(key)) {
      throw new PurserError(
        'invalid_idempotency_key',
        `the ${keyHeader} has 1 to 255 visible ASCII characters, no blanks`,
        { status: 400 },
      );
    }
    await next();
  });

export const keyOf = (c: Context<WebEnv>): string | undefined => c.req.header(keyHeader);
