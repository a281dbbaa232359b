/** The causes of `purser why` as lines: numbered, the one to lift first first, each with the command that lifts it. */
import type { Cause } from '../../operations/why/cause.ts';
import type { WhyAnswer } from '../../operations/why/why.ts';

export function whyTitle({ target, state }: WhyAnswer): string {
  const { jobId, jobType, tenantId } = target;
  if (jobId !== undefined) return `job ${jobId} is ${state ?? 'unknown'}`;
  const of = [
    ...(jobType === undefined ? [] : [`of type ${jobType}`]),
    ...(tenantId === undefined ? [] : [`of tenant ${tenantId}`]),
  ];
  return of.length === 0 ? 'the jobs of the fleet' : `jobs ${of.join(' ')}`;
}

export const causeLines = (causes: readonly Cause[]): string[] =>
  causes.flatMap(({ code, says, lift }, index) => [
    `${index + 1}. ${code}: ${says}`,
    ...(lift === null ? [] : [`   to lift it: ${lift}`]),
  ]);
