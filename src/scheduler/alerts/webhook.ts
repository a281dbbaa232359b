/**
 * Posts one message to a webhook, signed as the Standard Webhooks specification says (standardwebhooks.com): headers
 * `webhook-id`, `webhook-timestamp` and `webhook-signature`, an HMAC-SHA256 over `id.timestamp.body`. The receiver
 * compares the signature, refuses an old timestamp, and takes an id once.
 */
import { createHmac } from 'node:crypto';
import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { messageOf } from '../../errors.ts';
import { admittingLookup, isRefusedLiteral, refusedHost } from '../../net/public-address.ts';

export interface WebhookTarget {
  readonly url: string;
  /** The shared secret, as text. */
  readonly secret: string;
  /** Allows addresses of private networks and of this machine. */
  readonly allowPrivate: boolean;
}

export interface WebhookMessage {
  readonly id: string;
  readonly body: string;
}

const timeoutMs = 10_000;

/** The value of `webhook-signature`. `timestamp` in seconds since 1970. */
function signatureOf(secret: string, { id, body }: WebhookMessage, timestamp: number): string {
  const signed = createHmac('sha256', secret).update(`${id}.${timestamp}.${body}`).digest('base64');
  return `v1,${signed}`;
}

/**
 * Undefined when the receiver took the message (2xx), else why not, without the secret and the path of the URL, which
 * may be secret too. Follows no redirect.
 */
export function postWebhook(
  target: WebhookTarget,
  message: WebhookMessage,
): Promise<string | undefined> {
  const url = new URL(target.url);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (!target.allowPrivate && isRefusedLiteral(url)) return Promise.resolve(refusedHost(host));
  const timestamp = Math.floor(Date.now() / 1000);
  return new Promise((resolve) => {
    const send = url.protocol === 'https:' ? requestHttps : requestHttp;
    const request = send(url, {
      method: 'POST',
      signal: AbortSignal.timeout(timeoutMs),
      ...(target.allowPrivate ? {} : { lookup: admittingLookup() }),
      headers: {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(message.body),
        'user-agent': 'purser',
        'webhook-id': message.id,
        'webhook-timestamp': String(timestamp),
        'webhook-signature': signatureOf(target.secret, message, timestamp),
      },
    });
    request.once('response', (response) => {
      const { statusCode = 0 } = response;
      // The body does not matter, and may never end.
      response.destroy();
      resolve(statusCode >= 200 && statusCode < 300 ? undefined : `${host} answered ${statusCode}`);
    });
    request.once('error', (error) => {
      const timedOut = error.name === 'TimeoutError' || error.name === 'AbortError';
      resolve(timedOut ? `${host} did not answer within ${timeoutMs} ms` : messageOf(error));
    });
    request.end(message.body);
  });
}
