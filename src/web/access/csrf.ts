/**
 * Tokens of forms. A form is accepted only with the token that its page has, which is made from a secret that the browser
 * sends by itself and no other page can read.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Context, MiddlewareHandler } from 'hono';
import { createMiddleware } from 'hono/factory';
import { PurserError } from '../../errors.ts';
import type { WebEnv } from '../web-env.ts';

export const csrfField = 'csrf';

/** `secret`: the token of the session, or of the login page. */
export const csrfTokenOf = (secret: string): string =>
  createHmac('sha256', secret).update('csrf').digest('base64url');

/** Throws `csrf` (403) unless the form's token is this one. */
export async function checkCsrf(c: Context<WebEnv>, expected: string): Promise<void> {
  const given = (await c.req.parseBody())[csrfField];
  const [one, other] = [typeof given === 'string' ? given : '', expected].map((text) =>
    Buffer.from(text),
  );
  if (one === undefined || other === undefined || one.length !== other.length) throw refusal();
  if (!timingSafeEqual(one, other)) throw refusal();
}

const refusal = (): PurserError =>
  new PurserError('csrf', 'this form is not valid any more; load its page again', { status: 403 });

/** For forms of pages behind the login. A bearer token is sent by a program, which no page can make do so. */
export const requireCsrf = (): MiddlewareHandler<WebEnv> =>
  createMiddleware<WebEnv>(async (c, next) => {
    const { csrf } = c.get('access');
    if (csrf !== undefined) await checkCsrf(c, csrf);
    await next();
  });
