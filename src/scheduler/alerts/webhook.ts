/**
 * Posts one message to a webhook, signed as the Standard Webhooks specification says (standardwebhooks.com): headers
 * `webhook-id`, `webhook-timestamp` and `webhook-signature`, an HMAC-SHA256 over `id.timestamp.body`. The receiver
 * compares the signature, refuses an old timestamp, and takes an id once.
 */
import { createHmac } from 'node:crypto';
import { lookup as lookupName } from 'node:dns';
import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { BlockList, isIP } from 'node:net';
import type { LookupFunction } from 'node:net';
import { messageOf } from '../../errors.ts';

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

/** Not reachable from the internet: RFC 6890 and its registries for IPv4 and IPv6. */
const notPublic = new BlockList();
for (const [network, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
] as const) {
  notPublic.addSubnet(network, bits, 'ipv4');
}
/** Only 2000::/3 is global; within it these are not, or carry an IPv4 address that may be private. */
const globalV6 = new BlockList();
globalV6.addSubnet('2000::', 3, 'ipv6');
for (const [network, bits] of [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
] as const) {
  notPublic.addSubnet(network, bits, 'ipv6');
}

/** Whether `address` can be of a host on the internet. */
export function isPublicAddress(address: string): boolean {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return isPublicAddress(mapped);
  const family = isIP(address);
  if (family === 4) return !notPublic.check(address, 'ipv4');
  return family === 6 && globalV6.check(address, 'ipv6') && !notPublic.check(address, 'ipv6');
}

/** The address that is checked is the one that is connected to: a name cannot change between. */
const publicLookup: LookupFunction = (hostname, options, callback) => {
  lookupName(hostname, { ...options, all: true }, (error, addresses) => {
    const found = error === null ? addresses : [];
    const refused = found.find(({ address }) => !isPublicAddress(address));
    const [first] = found;
    if (error !== null) callback(error, '', 0);
    else if (refused !== undefined || first === undefined) {
      callback(new Error(`${hostname} is an address of a private network`), '', 0);
    } else if (options.all === true) callback(null, found);
    else callback(null, first.address, first.family);
  });
};

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
  if (!target.allowPrivate && isIP(host) !== 0 && !isPublicAddress(host)) {
    return Promise.resolve(`${host} is an address of a private network`);
  }
  const timestamp = Math.floor(Date.now() / 1000);
  return new Promise((resolve) => {
    const send = url.protocol === 'https:' ? requestHttps : requestHttp;
    const request = send(url, {
      method: 'POST',
      signal: AbortSignal.timeout(timeoutMs),
      ...(target.allowPrivate ? {} : { lookup: publicLookup }),
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
