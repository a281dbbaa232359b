/**
 * The worst case of one request: an upper bound of its tokens, and of the rates that it can be billed at. What the
 * provider bills is never more, whatever tokenizer it has; where the tokenizer is known, the bound is close to it.
 */
import type { CostBound } from '../../budget/bill.ts';
import type { ProviderKind } from '../protocol.ts';
import { parseObject } from '../provider-body.ts';
import { byteBound } from './byte-bound.ts';
import { encodingsOf } from './encodings.ts';
import { messageBound } from './message-bound.ts';
import { answersAsked, classesReached } from './reach.ts';
import { factorReached } from './tier-reached.ts';

export interface BoundedRequest {
  readonly url: string;
  readonly kind: ProviderKind;
  readonly model: string;
  /** The serialised JSON object, as it will be sent. */
  readonly body: string;
  /** The cap of one answer, which the body contains. */
  readonly maxOutputTokens: number;
}

/** In bytes: more than any model of OpenAI reads. A longer request is bounded by them, which takes one pass. */
const maxCountedBytes = 6 * 1024 * 1024;

/** What a provider adds to a request with tools. Anthropic publishes up to 530 tokens. */
const toolTokens = 1024;

/** Counts in turns of the event loop. Throws where the body is no JSON object. */
export async function requestBound(request: BoundedRequest): Promise<CostBound> {
  const { url, kind, model, maxOutputTokens } = request;
  const body = parseObject(request.body);
  if (body === undefined) throw new Error('the body of the request is not a JSON object');
  const bytes = byteBound(request.body, url);
  const encodings = kind === 'openai' && bytes <= maxCountedBytes ? encodingsOf(url, model) : [];
  const counted = await messageBound(body, encodings);
  const reached = { kind, url, model, body };
  return {
    inputTokens: Math.min(bytes, counted ?? bytes) + (body['tools'] === undefined ? 0 : toolTokens),
    maxOutputTokens: maxOutputTokens * answersAsked(reached),
    ...classesReached(reached),
    factor: factorReached(reached),
  };
}
