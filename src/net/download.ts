/**
 * Downloads a file by https into a folder, within limits of time and bytes. Every address that is connected to, also
 * behind a redirect, is checked at the connection. No message has the path or the query of a URL, which may be secrets.
 */
import { createWriteStream } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { codeOf, messageOf, PurserError } from '../errors.ts';
import {
  admittingLookup,
  isPublicAddress,
  isRefusedLiteral,
  refusedHost,
} from './public-address.ts';
import type { Admits } from './public-address.ts';

export interface DownloadLimits {
  /** Bytes as they are sent. */
  readonly maxBytes: number;
  /** Of the whole download, redirects included. */
  readonly timeoutMs: number;
  /** Without a byte. */
  readonly silenceMs: number;
}

export interface DownloadOptions {
  readonly limits?: Partial<DownloadLimits>;
  /** Which addresses may be connected to. Default: those of the internet. */
  readonly admits?: Admits;
  /** PEM of an authority to trust besides those of Node. */
  readonly ca?: string | undefined;
}

const defaults: DownloadLimits = {
  maxBytes: 16 * 1024 ** 3,
  timeoutMs: 3_600_000,
  silenceMs: 30_000,
};
const maxRedirects = 5;
const redirects = new Set([301, 302, 303, 307, 308]);

const fault = (host: string, why: string, cause?: unknown): PurserError =>
  new PurserError('download_failed', `${host}: ${why}`, {
    details: { class: 'fatal', host },
    ...(cause === undefined ? {} : { cause }),
  });

/** Whether the text is meant as a URL and not as the path of a file. */
export const isUrl = (text: string): boolean => /^[a-z][a-z\d+.-]*:\/\//i.test(text);

function checkedUrl(text: string | URL, base?: URL): URL {
  const url = URL.canParse(String(text), base?.href) ? new URL(text, base?.href) : undefined;
  if (url === undefined) throw fault(base?.host ?? 'the URL', 'is not a URL that can be read');
  if (url.protocol !== 'https:') throw fault(url.host, 'only https: URLs are downloaded');
  if (url.username !== '' || url.password !== '') {
    throw fault(url.host, 'a URL with a login is not downloaded; use a signed one');
  }
  return url;
}

/** The last part of the path, as the name of a file. */
function nameOf(url: URL): string {
  const last = url.pathname.split('/').findLast((part) => part !== '') ?? '';
  const name = last.replace(/[^\w.-]/g, '_').replace(/^\.+/, '');
  return name === '' ? 'export.csv' : name.slice(-150);
}

/** What ended a download, in the order of its causes: an abort reaches the reader as the loss of its connection. */
interface Ends {
  readonly time: AbortSignal;
  readonly silence: AbortController;
}

function whyFailed(
  error: unknown,
  { time, silence }: Ends,
  { timeoutMs, silenceMs }: DownloadLimits,
): string {
  if (silence.signal.aborted) return `sent nothing for ${silenceMs / 1000} s`;
  if (time.aborted) return `did not end within ${timeoutMs / 1000} s`;
  if (codeOf(error) === 'ENOTFOUND') return 'there is no such host';
  if (codeOf(error) === 'ECONNRESET') return 'the connection ended before the file did';
  return messageOf(error);
}

/**
 * Returns the path of the file, named as the last part of the URL's path. Throws `download_failed`, which names the
 * host and what is wrong; a part that was written stays in the folder.
 */
export async function download(
  text: string,
  folder: string,
  options: DownloadOptions = {},
): Promise<string> {
  const limits = { ...defaults, ...options.limits };
  const ends = { time: AbortSignal.timeout(limits.timeoutMs), silence: new AbortController() };
  const first = checkedUrl(text);
  let url = first;
  try {
    for (let hop = 0; hop <= maxRedirects; hop += 1) {
      const response = await answerOf(url, limits, ends, options);
      const { statusCode = 0, headers } = response;
      if (!redirects.has(statusCode)) {
        return await store(url, response, join(folder, nameOf(first)), limits, ends.time);
      }
      response.destroy();
      if (headers.location === undefined) throw fault(url.host, 'redirects to nowhere');
      url = checkedUrl(headers.location, url);
    }
  } catch (error) {
    if (error instanceof PurserError) throw error;
    throw fault(url.host, whyFailed(error, ends, limits), error);
  }
  throw fault(first.host, `redirects more than ${maxRedirects} times`);
}

function answerOf(
  url: URL,
  { silenceMs }: DownloadLimits,
  { time, silence }: Ends,
  { admits = isPublicAddress, ca }: DownloadOptions,
): Promise<IncomingMessage> {
  if (isRefusedLiteral(url, admits)) throw fault(url.host, refusedHost(url.hostname));
  return new Promise((resolve, reject) => {
    const sent = request(url, {
      signal: AbortSignal.any([time, silence.signal]),
      // A connection that is kept open could be one that was checked by other rules.
      agent: false,
      lookup: admittingLookup(admits),
      headers: { 'user-agent': 'purser', 'accept-encoding': 'identity' },
      ...(ca === undefined ? {} : { ca }),
    });
    sent.setTimeout(silenceMs, () => silence.abort());
    sent.once('response', resolve);
    sent.once('error', reject);
    sent.end();
  });
}

async function store(
  url: URL,
  response: IncomingMessage,
  path: string,
  { maxBytes }: DownloadLimits,
  signal: AbortSignal,
): Promise<string> {
  const { statusCode = 0, headers } = response;
  const coding = headers['content-encoding'] ?? 'identity';
  const declared = Number(headers['content-length'] ?? 0);
  const refuse = (why: string): never => {
    response.destroy();
    throw fault(url.host, why);
  };
  if (statusCode !== 200) refuse(`answered ${statusCode}`);
  // The reader of exports unpacks gzip, within its own limits.
  if (coding !== 'identity' && coding !== 'gzip') refuse(`sends ${coding}; only gzip is unpacked`);
  if (declared > maxBytes) refuse(`the file has more than ${maxBytes} bytes`);
  let bytes = 0;
  const counted = new Transform({
    transform(chunk: Buffer, _, done) {
      bytes += chunk.length;
      if (bytes > maxBytes) done(fault(url.host, `the file has more than ${maxBytes} bytes`));
      else done(null, chunk);
    },
  });
  await pipeline(response, counted, createWriteStream(path, { flags: 'wx', mode: 0o600 }), {
    signal,
  });
  return path;
}
