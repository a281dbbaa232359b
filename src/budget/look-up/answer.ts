/** What an app's look-up hook says of one call of unknown outcome, as it is checked and stored. */
import { z } from 'zod';
import { billOf, costOfItems } from '../bill.ts';
import type { BillItem } from '../bill.ts';
import type { PinnedPrice } from '../pinned-price.ts';
import { usageClasses } from '../usage-classes.ts';
import type { UsageClass, UsageCounts } from '../usage-classes.ts';

/** The job type of an app that has a hook. */
export const lookUpJobType = 'llm_usage_look_up';

const counts = z.partialRecord(
  z.custom<UsageClass>((name) => usageClasses.some((known) => known === name)),
  z.number().int().min(0).max(1_000_000_000),
);

/** Exactly one of them. */
export const lookUpAnswer = z.union([
  z.literal('not billed'),
  z.strictObject({ usage: counts }),
  z.strictObject({ costUsd: z.string().regex(/^\d{1,9}(\.\d{1,9})?$/) }),
]);
export type LookUpAnswer = z.output<typeof lookUpAnswer>;

/** What an answer must look like, for an error. */
export const answerForms =
  `'not billed', { usage: { CLASS: COUNT } } with the classes ${usageClasses.join(', ')}, ` +
  "{ costUsd: '0.0123' } with at most 9 decimals, or undefined";

export interface LookedUpBill {
  readonly items: readonly BillItem[];
  readonly costNanoUsd: bigint;
  /** Used, and without a rate in the price. */
  readonly uncovered: readonly string[];
}

/** The bill of an answer at the pinned price of the call. */
export function billOfAnswer(answer: LookUpAnswer, price: PinnedPrice): LookedUpBill {
  if (answer === 'not billed') return { items: [], costNanoUsd: 0n, uncovered: [] };
  if ('usage' in answer) {
    const { request: _, ...usage }: UsageCounts = answer.usage;
    return billOf(price, usage);
  }
  const items = [{ class: 'evidence', count: 1, usd: answer.costUsd, per: 1 } as const];
  return { items, costNanoUsd: costOfItems(items), uncovered: [] };
}
