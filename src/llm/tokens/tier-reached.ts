/** The highest factor of the rates that the service tier of one request can have. */
import { multiplyDecimals } from '../../budget/money.ts';
import { highestFactors, tierFactors } from '../usage/tier-factors.ts';
import { asObject } from '../provider-body.ts';
import type { ReachedRequest } from './reach.ts';
import { sellerOf } from './sellers.ts';

/** A decimal of at least 1: a cheaper tier that was asked for may be served as the standard one. */
export function factorReached(request: ReachedRequest): string {
  const factors = [tierFactor(request), regionFactor(request), speedFactor(request)];
  return factors.reduce(multiplyDecimals, '1');
}

/** Names of tiers at the standard rate or less. */
const atMostStandard: ReadonlySet<unknown> = new Set([
  'default',
  'standard',
  'standard_only',
  'on_demand',
  'flex',
  'batch',
]);

/**
 * OpenAI and Azure serve a request without a tier, or with `auto`, in that of the project or the deployment; elsewhere a
 * tier applies only to a request that names it. Anthropic's priority tier is capacity that was paid for before, and has
 * no rate of its own.
 */
function tierFactor({ kind, url, body }: ReachedRequest): string {
  if (kind === 'anthropic') return '1';
  const named =
    kind === 'google'
      ? (body['serviceTier'] ?? asObject(body['generationConfig'])?.['serviceTier'])
      : body['service_tier'];
  const tier = typeof named === 'string' ? named.toLowerCase() : (named ?? 'auto');
  const byAccount = ['openai', 'azure'].includes(sellerOf(url) ?? '');
  return atMostStandard.has(tier) || (tier === 'auto' && !byAccount)
    ? '1'
    : highestFactors.priority;
}

/** Models released before the field `inference_geo`, which they refuse; newer ones follow their workspace's default. */
const withoutRegions =
  /^(?!claude)|^claude-(?:v?[123]\b|instant|(?:opus|sonnet|haiku)-4(?:-[0-5])?(?:-\d{8}|-latest)?$)/;

/** Inference in the US alone costs 1.1 times the rate: platform.claude.com, "Data residency". */
function regionFactor({ kind, model, body }: ReachedRequest): string {
  const global = kind !== 'anthropic' || body['inference_geo'] === 'global';
  return global || withoutRegions.test(model) ? '1' : tierFactors['region us'];
}

/** Anthropic's fast mode, for requests that ask for it. */
function speedFactor({ kind, body }: ReachedRequest): string {
  const speed = body['speed'] ?? 'standard';
  return kind !== 'anthropic' || speed === 'standard' ? '1' : highestFactors['speed fast'];
}
