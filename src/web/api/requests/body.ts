/** The body of a write: JSON in UTF-8, of a bounded size, read once. */
import type { MiddlewareHandler } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { createMiddleware } from 'hono/factory';
import { PurserError } from '../../../errors.ts';
import type { WebEnv } from '../../web-env.ts';

/** The largest payload of a job, and room for what stands around it. */
const maxBodyBytes = 1_048_576 + 65_536;

/** Throws `body_too_large` (413). */
export const limitBody = (): MiddlewareHandler<WebEnv> =>
  bodyLimit({
    maxSize: maxBodyBytes,
    onError: () => {
      throw new PurserError(
        'body_too_large',
        `the body has more than ${maxBodyBytes} bytes; a payload has 1048576 (1 MiB) at most`,
        { status: 413 },
      );
    },
  });

const jsonType = /^application\/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?$/i;

const wrongType = (given: string | undefined): PurserError =>
  new PurserError(
    'unsupported_media_type',
    given === undefined
      ? 'the body needs the header Content-Type: application/json'
      : `the body is ${JSON.stringify(given.slice(0, 100))}; send application/json in UTF-8`,
    { status: 415 },
  );

const invalidJson = (detail: string): PurserError =>
  new PurserError('invalid_json', detail, { status: 400 });

/**
 * Checks that the body is JSON, also where it may be left out, which stands for `{}`. Throws `unsupported_media_type` (415)
 * and `invalid_json` (400). The validators read the same bytes again.
 */
export const readJson = (): MiddlewareHandler<WebEnv> =>
  createMiddleware<WebEnv>(async (c, next) => {
    const type = c.req.header('content-type');
    if (type !== undefined && !jsonType.test(type)) throw wrongType(type);
    const bytes = await c.req.arrayBuffer();
    if (bytes.byteLength > 0) {
      if (type === undefined) throw wrongType(type);
      parse(bytes);
    }
    await next();
  });

function parse(bytes: ArrayBuffer): void {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw invalidJson('the body is not UTF-8 text; convert it first');
  }
  try {
    JSON.parse(text);
  } catch {
    // The parser's own message quotes the text, which may be secret.
    throw invalidJson('the body is not JSON; send one JSON object');
  }
}
