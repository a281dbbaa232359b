/**
 * What of a price one request can be billed at, from its body, its protocol and who answers: a hold that counts a rate
 * which the request cannot reach holds money for nothing, and one that leaves out another does not cover the bill.
 */
import type { UsageClass } from '../../budget/usage-classes.ts';
import type { ProviderKind } from '../protocol.ts';
import { asObject, asObjects } from '../provider-body.ts';
import type { JsonObject } from '../provider-body.ts';
import { sellerOf } from './sellers.ts';

export interface ReachedRequest {
  readonly kind: ProviderKind;
  readonly url: string;
  readonly model: string;
  readonly body: JsonObject;
}

/** The classes that the input and the output of a request can be billed as. */
export function classesReached(request: ReachedRequest): {
  inputClasses: UsageClass[];
  outputClasses: UsageClass[];
} {
  return {
    // Every provider may read any prefix from a cache without being asked to.
    inputClasses: ['input', 'cache_read', ...cacheWrites(request), ...inputMedia(request)],
    outputClasses: ['output', 'reasoning', ...outputMedia(request)],
  };
}

/**
 * Anthropic writes what `cache_control` marks, for 5 minutes unless its `ttl` is 1h (docs "Prompt caching"); servers
 * that speak its protocol, and proxies, may write by themselves. OpenAI writes by itself, and bills it from gpt-5.6 on.
 * An answer in Google's protocol has no count of written tokens: a cache is made by a request of its own.
 */
function cacheWrites({ kind, url, body }: ReachedRequest): UsageClass[] {
  if (kind === 'google') return [];
  if (kind === 'openai') return ['cache_write'];
  if (sellerOf(url) !== 'anthropic') return ['cache_write', 'cache_write_1h'];
  const marks = valuesOf(body, 'cache_control');
  const for1h = marks.some((mark) => asObject(mark)?.['ttl'] === '1h');
  return marks.length === 0 ? [] : ['cache_write', ...(for1h ? (['cache_write_1h'] as const) : [])];
}

/** Anthropic bills media as input; the others have rates of their own. */
function inputMedia({ kind, body }: ReachedRequest): UsageClass[] {
  if (kind === 'anthropic' || hasTextAlone(kind, body)) return [];
  const media: UsageClass[] = ['input_audio', 'input_image', 'input_video'];
  return kind === 'openai'
    ? media
    : [...media, 'cache_read_audio', 'cache_read_image', 'cache_read_video'];
}

function hasTextAlone(kind: 'openai' | 'google', body: JsonObject): boolean {
  if (kind === 'openai') {
    return asObjects(body['messages']).every(
      ({ content }) =>
        !Array.isArray(content) || asObjects(content).every(({ type }) => type === 'text'),
    );
  }
  const parts = asObjects(body['contents']).flatMap((content) => asObjects(content['parts']));
  return (
    body['cachedContent'] === undefined && parts.every((part) => typeof part['text'] === 'string')
  );
}

/**
 * OpenAI writes text unless `modalities` asks for more, and no image in a chat completion. Google's models for images
 * draw unless `responseModalities` leaves it out. Of another server it is not known; Anthropic's models write text.
 */
function outputMedia({ kind, url, body }: ReachedRequest): UsageClass[] {
  if (kind === 'anthropic') return [];
  const isOpenAi = ['openai', 'azure'].includes(sellerOf(url) ?? '');
  const asked =
    kind === 'openai'
      ? (body['modalities'] ?? (isOpenAi ? ['text'] : undefined))
      : asObject(body['generationConfig'])?.['responseModalities'];
  const isText =
    Array.isArray(asked) &&
    asked.length > 0 &&
    asked.every((one) => typeof one === 'string' && one.toLowerCase() === 'text');
  if (isText) return [];
  return ['output_audio', 'output_image', 'output_video'];
}

/** How many answers one request asks for: each may have the capped length. */
export function answersAsked({ kind, body }: ReachedRequest): number {
  const asked =
    kind === 'google' ? asObject(body['generationConfig'])?.['candidateCount'] : body['n'];
  return kind !== 'anthropic' && typeof asked === 'number' && asked > 1 ? Math.ceil(asked) : 1;
}

/** The values of every field of that name, at any depth. */
function valuesOf(body: JsonObject, name: string): unknown[] {
  const found: unknown[] = [];
  const open: unknown[] = [body];
  while (open.length > 0) {
    const value = open.pop();
    if (typeof value !== 'object' || value === null) continue;
    for (const [key, inner] of Object.entries(value)) {
      if (key === name) found.push(inner);
      open.push(inner);
    }
  }
  return found;
}
