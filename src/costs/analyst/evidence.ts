/**
 * Reads the evidence that a cost analysis puts into its prompt: one fenced JSON block. Tolerant of
 * missing parts, so that a thin month gives a thin analysis and not a failure.
 */

export interface DailyCost {
  readonly day: string;
  readonly cost: number;
}

export interface ServiceEvidence {
  readonly service: string;
  readonly daily: readonly DailyCost[];
  readonly total: number;
  /** Of the period before, where it is known. */
  readonly previousTotal: number | undefined;
}

interface IdleEvidence {
  readonly resourceId: string;
  readonly service: string;
  /** Over the whole period. */
  readonly cost: number;
  readonly evidence: string;
}

export interface Evidence {
  readonly currency: string;
  readonly periodDays: number;
  readonly totalCost: number;
  readonly services: readonly ServiceEvidence[];
  readonly idle: readonly IdleEvidence[];
}

/** The first fenced JSON block of a prompt that holds an object, or undefined. */
export function readEvidence(prompt: string): Evidence | undefined {
  for (const [, block = ''] of prompt.matchAll(/```json\s*\n([\s\S]*?)\n\s*```/g)) {
    try {
      const root = record(JSON.parse(block));
      if (root !== undefined) return evidenceOf(root);
    } catch {
      // The next block.
    }
  }
  return undefined;
}

type Fields = ReadonlyMap<string, unknown>;

function record(value: unknown): Fields | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? new Map(Object.entries(value))
    : undefined;
}

function records(value: unknown): Fields[] {
  return Array.isArray(value) ? value.map(record).filter((one) => one !== undefined) : [];
}

/** Statistics need no exact decimals; sums that are shown come from the evidence. */
function number(value: unknown): number | undefined {
  const parsed = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  return typeof parsed === 'number' && Number.isFinite(parsed) ? parsed : undefined;
}

function text(value: unknown): string {
  if (typeof value === 'string') return value.slice(0, 500);
  return value === undefined || value === null ? '' : JSON.stringify(value).slice(0, 500);
}

function evidenceOf(root: Fields): Evidence {
  const services = records(root.get('services')).map((service): ServiceEvidence => {
    const daily = records(service.get('daily'))
      .map((point) => ({ day: text(point.get('day')), cost: number(point.get('cost')) }))
      .filter((point): point is DailyCost => point.cost !== undefined && point.day !== '')
      .toSorted((a, b) => (a.day < b.day ? -1 : 1));
    return {
      service: text(service.get('service')),
      daily,
      total: number(service.get('total')) ?? sum(daily.map((point) => point.cost)),
      previousTotal: number(service.get('previousTotal')),
    };
  });
  const days = new Set(services.flatMap((service) => service.daily.map((point) => point.day)));
  return {
    currency: text(root.get('currency')) || 'USD',
    periodDays: Math.max(number(root.get('periodDays')) ?? days.size, 1),
    totalCost: number(root.get('totalCost')) ?? sum(services.map((service) => service.total)),
    services,
    idle: records(root.get('idle')).map((resource) => ({
      resourceId: text(resource.get('resourceId')),
      service: text(resource.get('service')),
      cost: number(resource.get('cost')) ?? 0,
      evidence: text(resource.get('evidence')),
    })),
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
