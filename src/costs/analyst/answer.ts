/**
 * The offline analyst's answer: a summary, anomalies and recommendations worked out from the evidence by
 * statistics alone. The same evidence always gives the same answer.
 */
import { findUnusualDays, perMonth } from './statistics.ts';
import type { CostAnomaly } from './statistics.ts';
import { readEvidence } from './evidence.ts';
import type { Evidence, ServiceEvidence } from './evidence.ts';

export interface OfflineAnalysis {
  readonly summary: string;
  readonly anomalies: readonly {
    readonly service: string;
    readonly day: string;
    readonly cost: number;
    readonly expected: number;
    readonly reason: string;
  }[];
  readonly recommendations: readonly {
    readonly title: string;
    readonly rationale: string;
    readonly estimatedMonthlySavingsUsd: number;
  }[];
}

const label = 'Offline statistical analysis';
const maxFindings = 10;
/** An excess under this share of the period's daily cost is not worth a reader's minute. */
const materialShare = 0.01;
const growthShare = 0.2;

/** Analyses the evidence block of a prompt; without one, says that nothing could be analysed. */
export function analyseOffline(prompt: string): OfflineAnalysis {
  const evidence = readEvidence(prompt);
  if (evidence === undefined) {
    return {
      summary: `${label}: the request holds no evidence, so nothing could be analysed.`,
      anomalies: [],
      recommendations: [],
    };
  }
  const material = (materialShare * Math.abs(evidence.totalCost)) / evidence.periodDays;
  const anomalies = evidence.services
    .flatMap((service) => findUnusualDays(service, material))
    .toSorted((a, b) => b.cost - b.expected - (a.cost - a.expected) || order(a, b));
  const movers = evidence.services
    .filter((service) => {
      const large = increaseOf(service) > materialShare * Math.abs(evidence.totalCost);
      return large && growthOf(service) > growthShare;
    })
    .toSorted((a, b) => increaseOf(b) - increaseOf(a) || (a.service < b.service ? -1 : 1));
  const recommendations = [...idleAdvice(evidence), ...moverAdvice(evidence, movers)].slice(
    0,
    maxFindings,
  );
  return {
    summary: summaryOf(evidence, anomalies, movers),
    anomalies: anomalies.slice(0, maxFindings).map((anomaly) => ({
      service: anomaly.service,
      day: anomaly.day,
      cost: cents(anomaly.cost),
      expected: cents(anomaly.expected),
      reason: reasonOf(anomaly),
    })),
    recommendations,
  };
}

function order(a: CostAnomaly, b: CostAnomaly): number {
  return `${a.service} ${a.day}` < `${b.service} ${b.day}` ? -1 : 1;
}

function increaseOf(service: ServiceEvidence): number {
  return service.previousTotal === undefined ? 0 : service.total - service.previousTotal;
}

function growthOf({ total, previousTotal }: ServiceEvidence): number {
  if (previousTotal === undefined || previousTotal <= 0) return 0;
  return (total - previousTotal) / previousTotal;
}

function cents(amount: number): number {
  return Math.round(amount * 100) / 100;
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

function reasonOf({ cost, expected, score, days }: CostAnomaly): string {
  const times = expected > 0 ? `${(cost / expected).toFixed(1)} times` : 'against nothing as';
  const how = Number.isFinite(score)
    ? `modified z-score ${score.toFixed(1)}, limit 3.5`
    : 'the days before did not vary at all';
  const run = days > 1 ? `; one of ${days} such days in a row` : '';
  return `${times} the median of the 28 days before (${how})${run}`;
}

function summaryOf(
  evidence: Evidence,
  anomalies: readonly CostAnomaly[],
  movers: readonly ServiceEvidence[],
): string {
  const { totalCost, currency, periodDays, services, idle } = evidence;
  const spike = anomalies[0];
  const mover = movers[0];
  const headline =
    spike === undefined
      ? 'no day stands out'
      : `${count(anomalies.length, 'unusual day')}, the largest in ${spike.service} on ${spike.day}`;
  const sentences = [
    `${label}: ${cents(totalCost).toFixed(2)} ${currency} over ${periodDays} days, ${headline}.`,
  ];
  const largest = services.toSorted((a, b) => b.total - a.total)[0];
  if (largest !== undefined && totalCost > 0) {
    const share = percent(largest.total / totalCost);
    sentences.push(`Of ${count(services.length, 'service')}, ${largest.service} is ${share}.`);
  }
  if (mover !== undefined) sentences.push(`${mover.service} grew by ${percent(growthOf(mover))}.`);
  if (idle.length > 0) sentences.push(`${count(idle.length, 'resource')} found idle.`);
  return sentences.join(' ');
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

type Advice = OfflineAnalysis['recommendations'][number];

/** Savings are in USD or not claimed: no exchange rate is assumed. */
function savings(evidence: Evidence, cost: number): number {
  return evidence.currency === 'USD' ? Math.max(0, cents(perMonth(cost, evidence.periodDays))) : 0;
}

function idleAdvice(evidence: Evidence): Advice[] {
  return evidence.idle
    .filter((resource) => resource.cost > 0)
    .toSorted((a, b) => b.cost - a.cost || (a.resourceId < b.resourceId ? -1 : 1))
    .map((resource) => ({
      title: `Remove idle ${resource.service} resource ${resource.resourceId}`,
      rationale:
        `It cost ${cents(resource.cost).toFixed(2)} ${evidence.currency} in ${evidence.periodDays} days. ` +
        resource.evidence,
      estimatedMonthlySavingsUsd: savings(evidence, resource.cost),
    }));
}

function moverAdvice(evidence: Evidence, movers: readonly ServiceEvidence[]): Advice[] {
  return movers.map((service) => ({
    title: `Check the growth of ${service.service}`,
    rationale:
      `It cost ${cents(service.total).toFixed(2)} ${evidence.currency} after ` +
      `${cents(service.previousTotal ?? 0).toFixed(2)} in the period before (+${percent(growthOf(service))}), ` +
      `${cents(perMonth(increaseOf(service), evidence.periodDays)).toFixed(2)} more a month. ` +
      'No saving is claimed: growth may be wanted.',
    estimatedMonthlySavingsUsd: 0,
  }));
}
