/**
 * Twelve fictional companies, their resources, and the anomalies and idle resources planted in their costs, which
 * tests expect the analyses to find.
 */

/** A kind of resource, as a provider bills it per day. */
export interface ResourceKind {
  readonly service: string;
  readonly category: string;
  readonly type: string;
  readonly idPrefix: string;
  readonly unit: string;
  /** USD per unit, a decimal of at most 10 places. */
  readonly unitPrice: number;
  /** Units of one resource on an ordinary weekday. */
  readonly unitsPerDay: number;
  /** Usage on a weekend day as a share of a weekday's. */
  readonly weekendShare: number;
  readonly description: string;
}

const kind = (
  [service, category, type, idPrefix]: readonly [string, string, string, string],
  [unit, unitPrice, unitsPerDay, weekendShare]: readonly [string, number, number, number],
  description: string,
): ResourceKind => ({
  service,
  category,
  type,
  idPrefix,
  unit,
  unitPrice,
  unitsPerDay,
  weekendShare,
  description,
});

export const resourceKinds = {
  instance: kind(
    ['Amazon Elastic Compute Cloud', 'Compute', 'instance', 'i-'],
    ['Hours', 0.192, 24, 0.7],
    '$0.192 per On Demand Linux m5.xlarge Instance Hour',
  ),
  database: kind(
    ['Amazon Relational Database Service', 'Databases', 'db', 'db-'],
    ['Hours', 0.356, 24, 0.9],
    '$0.356 per db.m5.xlarge Multi-AZ instance hour running PostgreSQL',
  ),
  bucket: kind(
    ['Amazon Simple Storage Service', 'Storage', 'bucket', 'data-'],
    ['GB-Months', 0.023, 410, 1],
    '$0.023 per GB - first 50 TB / month of storage used',
  ),
  function: kind(
    ['AWS Lambda', 'Compute', 'function', 'fn-'],
    ['Lambda-GB-Second', 0.0000166667, 310_000, 0.55],
    'AWS Lambda - Total Compute',
  ),
  balancer: kind(
    ['Elastic Load Balancing', 'Networking', 'loadbalancer', 'app/lb-'],
    ['LCU-Hours', 0.008, 190, 0.6],
    '$0.008 per used Application load balancer capacity unit-hour',
  ),
  logs: kind(
    ['AmazonCloudWatch', 'Management and Governance', 'log-group', 'logs-'],
    ['GB', 0.5, 9, 0.65],
    '$0.50 per GB custom log data ingested',
  ),
} as const;

/** Idle resources: they cost money and nothing uses them. */
export const idleKinds = {
  volume: kind(
    ['Amazon Elastic Block Store', 'Storage', 'volume', 'vol-'],
    ['GB-Months', 0.08, 25, 1],
    '$0.08 per GB-month of unattached General Purpose (gp3) provisioned storage',
  ),
  address: kind(
    ['Amazon Virtual Private Cloud', 'Networking', 'elastic-ip', 'eipalloc-'],
    ['Hours', 0.005, 24, 1],
    '$0.005 per Idle public IPv4 address per hour',
  ),
  gateway: kind(
    ['Amazon Elastic Compute Cloud - NAT', 'Networking', 'natgateway', 'nat-'],
    ['Hours', 0.045, 24, 1],
    '$0.045 per NAT Gateway Hour',
  ),
} as const;

export type KindName = keyof typeof resourceKinds;
/** In the order in which a sample file lists them. */
export const kindNames: readonly KindName[] = [
  'instance',
  'database',
  'bucket',
  'function',
  'balancer',
  'logs',
];
type IdleKindName = keyof typeof idleKinds;

/** A planted rise: the kind's costs are multiplied on these days, counted back from the last (0). */
export interface PlantedAnomaly {
  readonly kind: KindName;
  readonly firstDaysAgo: number;
  readonly lastDaysAgo: number;
  readonly factor: number;
}

export interface SampleCompany {
  readonly tenantId: string;
  readonly name: string;
  readonly region: string;
  readonly regionName: string;
  /** Resources of each kind. */
  readonly resources: Readonly<Partial<Record<KindName, number>>>;
  readonly anomalies: readonly PlantedAnomaly[];
  readonly idle: readonly IdleKindName[];
}

const frankfurt = { region: 'eu-central-1', regionName: 'EU (Frankfurt)' } as const;
const virginia = { region: 'us-east-1', regionName: 'US East (N. Virginia)' } as const;
const oregon = { region: 'us-west-2', regionName: 'US West (Oregon)' } as const;

function spike(kind: KindName, daysAgo: number, factor: number): PlantedAnomaly {
  return { kind, firstDaysAgo: daysAgo, lastDaysAgo: daysAgo, factor };
}

/** Tenant ids have twelve digits, like cloud accounts. */
export const sampleCompanies: readonly SampleCompany[] = [
  {
    tenantId: '700000000101',
    name: 'Alder Freight',
    ...frankfurt,
    resources: { instance: 5, database: 1, bucket: 2 },
    anomalies: [spike('instance', 9, 3)],
    idle: ['volume', 'address'],
  },
  {
    tenantId: '700000000102',
    name: 'Bluebottle Press',
    ...virginia,
    resources: { function: 4, bucket: 3, logs: 1 },
    anomalies: [spike('function', 5, 5)],
    idle: [],
  },
  {
    tenantId: '700000000103',
    name: 'Cedar & Vale Insurance',
    ...frankfurt,
    resources: { instance: 8, database: 3, logs: 2 },
    anomalies: [],
    idle: ['volume', 'gateway'],
  },
  {
    tenantId: '700000000104',
    name: 'Dovetail Robotics',
    ...oregon,
    resources: { instance: 6, function: 2, bucket: 1 },
    anomalies: [{ kind: 'function', firstDaysAgo: 12, lastDaysAgo: 10, factor: 6 }],
    idle: ['address'],
  },
  {
    tenantId: '700000000105',
    name: 'Ember Lane Foods',
    ...virginia,
    resources: { instance: 2, balancer: 1, bucket: 1 },
    anomalies: [],
    idle: [],
  },
  {
    tenantId: '700000000106',
    name: 'Fjordline Maps',
    ...frankfurt,
    resources: { bucket: 6, function: 3, database: 1 },
    anomalies: [spike('bucket', 14, 2.5)],
    idle: ['volume'],
  },
  {
    tenantId: '700000000107',
    name: 'Goldcrest Clinics',
    ...virginia,
    resources: { database: 4, instance: 3, logs: 1 },
    anomalies: [spike('logs', 3, 8)],
    idle: ['gateway'],
  },
  {
    tenantId: '700000000108',
    name: 'Harbour Street Games',
    ...oregon,
    resources: { instance: 9, balancer: 3, function: 2 },
    anomalies: [{ kind: 'instance', firstDaysAgo: 7, lastDaysAgo: 6, factor: 2.2 }],
    idle: [],
  },
  {
    tenantId: '700000000109',
    name: 'Ironwood Legal',
    ...virginia,
    resources: { instance: 1, bucket: 2 },
    anomalies: [],
    idle: ['volume'],
  },
  {
    tenantId: '700000000110',
    name: 'Juniper Transit',
    ...frankfurt,
    resources: { instance: 4, database: 2, balancer: 2 },
    anomalies: [spike('balancer', 11, 6)],
    idle: ['address', 'gateway'],
  },
  {
    tenantId: '700000000111',
    name: 'Kestrel Weather',
    ...oregon,
    resources: { function: 6, bucket: 4, logs: 2 },
    anomalies: [spike('logs', 17, 5)],
    idle: [],
  },
  {
    tenantId: '700000000112',
    name: 'Lantern Schools',
    ...virginia,
    resources: { instance: 3, database: 1, bucket: 1 },
    anomalies: [],
    idle: ['volume', 'volume', 'address'],
  },
];
