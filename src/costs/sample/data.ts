/**
 * Generates a FOCUS 1.0 export: twelve companies, 90 days, weekdays and weekends, planted anomalies and idle
 * resources. The same options always give the same bytes, so that ingesting it twice adds nothing.
 */
import { mkdir, open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { idleKinds, kindNames, resourceKinds, sampleCompanies } from './companies.ts';
import type { PlantedAnomaly, ResourceKind, SampleCompany } from './companies.ts';
import { createRandom, hashOf } from './seeded-random.ts';
import { addDays } from '../analysis/utc-days.ts';

export interface SampleOptions {
  /** Days that end on `sampleLastDay`. Default 90. */
  readonly days?: number;
  /** Multiplies the resources of every company: rows and bytes grow with it. Default 1. */
  readonly scale?: number;
  readonly seed?: number;
}

/** Fixed, so that the file does not change from day to day. */
const sampleLastDay = '2026-09-30';
/** The column that names the tenant. */
export const sampleTenantColumn = 'SubAccountId';

export interface PlantedFindings {
  readonly anomalies: readonly {
    readonly tenantId: string;
    readonly service: string;
    readonly from: string;
    readonly to: string;
  }[];
  readonly idle: readonly {
    readonly tenantId: string;
    readonly resourceId: string;
    readonly service: string;
  }[];
}

const header = [
  'BilledCost',
  'BillingAccountId',
  'BillingAccountName',
  'BillingCurrency',
  'BillingPeriodEnd',
  'BillingPeriodStart',
  'ChargeCategory',
  'ChargeClass',
  'ChargeDescription',
  'ChargeFrequency',
  'ChargePeriodEnd',
  'ChargePeriodStart',
  'ConsumedQuantity',
  'ConsumedUnit',
  'ContractedCost',
  'EffectiveCost',
  'InvoiceIssuerName',
  'ListCost',
  'ListUnitPrice',
  'PricingCategory',
  'PricingQuantity',
  'PricingUnit',
  'ProviderName',
  'PublisherName',
  'RegionId',
  'RegionName',
  'ResourceId',
  'ResourceName',
  'ResourceType',
  'ServiceCategory',
  'ServiceName',
  'SkuId',
  'SubAccountId',
  'SubAccountName',
  'Tags',
] as const;

const amazon = 'Amazon Web Services, Inc.';

interface SampleResource {
  readonly id: string;
  readonly name: string;
  readonly kind: ResourceKind;
  readonly idle: boolean;
  readonly anomalies: readonly PlantedAnomaly[];
  /** Size relative to other resources of its kind. */
  readonly size: number;
  readonly random: () => number;
}

function resourcesOf(company: SampleCompany, scale: number, seed: number): SampleResource[] {
  const { tenantId } = company;
  const make = (
    name: string,
    kind: ResourceKind,
    idle: boolean,
    planted: readonly PlantedAnomaly[],
  ) => {
    const random = createRandom(seed ^ hashOf(`${tenantId}/${name}`));
    const suffix = hashOf(`${seed}/${tenantId}/${name}`).toString(16).padStart(8, '0');
    const size = idle ? 1 : 0.6 + random() * 0.8;
    return { id: `${kind.idPrefix}${suffix}`, name, kind, idle, anomalies: planted, size, random };
  };
  const working = kindNames.flatMap((kindName) => {
    const planted = company.anomalies.filter((anomaly) => anomaly.kind === kindName);
    const count = (company.resources[kindName] ?? 0) * scale;
    return Array.from({ length: count }, (_, index) =>
      make(`${kindName}-${index + 1}`, resourceKinds[kindName], false, planted),
    );
  });
  const idle = company.idle.map((kindName, index) =>
    make(`forgotten-${kindName}-${index + 1}`, idleKinds[kindName], true, []),
  );
  return [...working, ...idle];
}

function unitsOn(resource: SampleResource, day: string, daysAgo: number): number {
  const { kind, size } = resource;
  const noise = resource.random();
  if (resource.idle) return kind.unitsPerDay;
  const weekday = new Date(`${day}T00:00:00Z`).getUTCDay();
  const season = weekday === 0 || weekday === 6 ? kind.weekendShare : 1;
  const planted = resource.anomalies.find(
    ({ firstDaysAgo, lastDaysAgo }) => daysAgo <= firstDaysAgo && daysAgo >= lastDaysAgo,
  );
  return kind.unitsPerDay * size * season * (0.96 + noise * 0.08) * (planted?.factor ?? 1);
}

function monthStart(day: string): string {
  return `${day.slice(0, 7)}-01`;
}

function nextMonthStart(day: string): string {
  return monthStart(addDays(monthStart(day), 31));
}

function quoted(text: string): string {
  return `"${text.replaceAll('"', '""')}"`;
}

function rowOf(
  company: SampleCompany,
  resource: SampleResource,
  day: string,
  daysAgo: number,
): string {
  const { kind, idle } = resource;
  const units = unitsOn(resource, day, daysAgo);
  const cost = (units * kind.unitPrice).toFixed(11);
  const values: Record<(typeof header)[number], string> = {
    BilledCost: cost,
    BillingAccountId: quoted('700000000001'),
    BillingAccountName: quoted('Purser sample payer'),
    BillingCurrency: quoted('USD'),
    BillingPeriodEnd: quoted(`${nextMonthStart(day)} 00:00:00`),
    BillingPeriodStart: quoted(`${monthStart(day)} 00:00:00`),
    ChargeCategory: quoted('Usage'),
    ChargeClass: 'NULL',
    ChargeDescription: quoted(kind.description),
    ChargeFrequency: quoted('Usage-Based'),
    ChargePeriodEnd: quoted(`${addDays(day, 1)} 00:00:00`),
    ChargePeriodStart: quoted(`${day} 00:00:00`),
    ConsumedQuantity: idle ? '0.000000000' : units.toFixed(9),
    ConsumedUnit: quoted(kind.unit),
    ContractedCost: cost,
    EffectiveCost: cost,
    InvoiceIssuerName: quoted(amazon),
    ListCost: cost,
    ListUnitPrice: quoted(String(kind.unitPrice)),
    PricingCategory: quoted('Standard'),
    PricingQuantity: units.toFixed(9),
    PricingUnit: quoted(kind.unit),
    ProviderName: quoted('AWS'),
    PublisherName: quoted(amazon),
    RegionId: quoted(company.region),
    RegionName: quoted(company.regionName),
    ResourceId: quoted(resource.id),
    ResourceName: quoted(resource.name),
    ResourceType: quoted(kind.type),
    ServiceCategory: quoted(kind.category),
    ServiceName: quoted(kind.service),
    SkuId: quoted(hashOf(kind.description).toString(36).toUpperCase()),
    SubAccountId: quoted(company.tenantId),
    SubAccountName: quoted(company.name),
    Tags: quoted(
      JSON.stringify({ environment: idle ? 'unknown' : 'prod', application: resource.name }),
    ),
  };
  return header.map((name) => values[name]).join(',');
}

/** The file as chunks of bytes, one per day: header first, then every company's resources. */
export function* sampleFocusFile(options: SampleOptions = {}): Generator<Buffer, void, undefined> {
  const { days = 90, scale = 1, seed = 20_260_930 } = options;
  const resources = sampleCompanies.flatMap((company) =>
    resourcesOf(company, scale, seed).map((resource) => ({ company, resource })),
  );
  yield Buffer.from(`${header.map(quoted).join(',')}\n`);
  for (let daysAgo = days - 1; daysAgo >= 0; daysAgo -= 1) {
    const day = addDays(sampleLastDay, -daysAgo);
    const rows = resources.map(({ company, resource }) => rowOf(company, resource, day, daysAgo));
    yield Buffer.from(`${rows.join('\n')}\n`);
  }
}

/** Writes the file as a whole or not at all. Returns the number of its data rows and tenants. */
export async function writeSample(
  path: string,
  options: SampleOptions = {},
): Promise<{ rows: number; tenants: number }> {
  await mkdir(dirname(path), { recursive: true });
  const unfinished = `${path}.${process.pid}.unfinished`;
  const file = await open(unfinished, 'w');
  let lines = 0;
  try {
    for (const chunk of sampleFocusFile(options)) {
      for (const byte of chunk) if (byte === lineFeed) lines += 1;
      await file.writeFile(chunk);
    }
  } finally {
    await file.close();
  }
  await rename(unfinished, path);
  return { rows: lines - 1, tenants: sampleCompanies.length };
}

const lineFeed = 0x0a;

/** The findings that analyses of this file should report. */
export function plantedFindings(options: SampleOptions = {}): PlantedFindings {
  const { scale = 1, seed = 20_260_930 } = options;
  return {
    anomalies: sampleCompanies.flatMap(({ tenantId, anomalies }) =>
      anomalies.map(({ kind, firstDaysAgo, lastDaysAgo }) => ({
        tenantId,
        service: resourceKinds[kind].service,
        from: addDays(sampleLastDay, -firstDaysAgo),
        to: addDays(sampleLastDay, -lastDaysAgo),
      })),
    ),
    idle: sampleCompanies.flatMap((company) =>
      resourcesOf(company, scale, seed)
        .filter(({ idle }) => idle)
        .map(({ id, kind }) => ({
          tenantId: company.tenantId,
          resourceId: id,
          service: kind.service,
        })),
    ),
  };
}
