import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { offlineAnalyst } from '../../../src/costs/analyst/local-analyst.ts';
import { gatherEvidence } from '../../../src/costs/analysis/evidence.ts';
import type { Evidence } from '../../../src/costs/analysis/evidence.ts';
import { finopsAnalysis } from '../../../src/handlers/finops-analysis.ts';
import {
  plantedFindings,
  sampleFocusFile,
  sampleTenantColumn,
} from '../../../src/costs/sample/data.ts';
import { uploadByTenantColumn } from '../../../src/costs/uploads/tenants.ts';
import { noJob, openBench } from '../../handlers/handler-bench.ts';
import type { HandlerBench } from '../../handlers/handler-bench.ts';

let bench: HandlerBench;

const offline = { kind: 'offline', analyst: offlineAnalyst, priceAs: 'gpt-4o-mini' } as const;

interface DatedFinding {
  readonly tenantId: string;
  readonly from: string;
}

function byTenantAndDay(a: DatedFinding, b: DatedFinding): number {
  return `${a.tenantId} ${a.from}` < `${b.tenantId} ${b.from}` ? -1 : 1;
}

beforeAll(async () => {
  bench = await openBench();
});
afterAll(async () => {
  await bench.close();
});

describe('the evidence of the sample companies', () => {
  const evidence = new Map<string, Evidence>();

  beforeAll(async () => {
    const path = await bench.file('sample.csv', Buffer.concat([...sampleFocusFile()]));
    const { database } = bench;
    const column = sampleTenantColumn;
    const ensureTenant = async (_sql: unknown, id: string): Promise<void> => {
      await bench.addTenant(id);
    };
    const request = { database, path, column, ensureTenant, onReady: noJob };
    const { uploads } = await uploadByTenantColumn(request);
    for (const { tenantId, uploadId } of uploads) {
      await bench.ingestUpload(tenantId, uploadId);
      const found = await bench.asTenant(tenantId, (sql) => gatherEvidence(sql, 30));
      if (found !== null) evidence.set(tenantId, found);
    }
  }, 60_000);

  it('covers every company and ends at the last day of the file', () => {
    expect(evidence.size).toBe(12);
    for (const { periodEnd, periodStart } of evidence.values()) {
      expect([periodStart, periodEnd]).toEqual(['2026-09-01', '2026-09-30']);
    }
  });

  it('holds exactly the anomalies that were planted', () => {
    const found = [...evidence].flatMap(([tenantId, { anomalies }]) =>
      anomalies.map(({ service, from, to }) => ({ tenantId, service, from, to })),
    );
    expect(found.toSorted(byTenantAndDay)).toEqual(
      plantedFindings().anomalies.toSorted(byTenantAndDay),
    );
  });

  it('holds exactly the idle resources that were planted', () => {
    const found = [...evidence].flatMap(([tenantId, { idle }]) =>
      idle.map(({ resourceId }) => `${tenantId} ${resourceId}`),
    );
    const planted = plantedFindings().idle.map(
      ({ tenantId, resourceId }) => `${tenantId} ${resourceId}`,
    );
    expect(found.toSorted()).toEqual(planted.toSorted());
  });

  it('is smaller than 24,000 bytes', () => {
    for (const one of evidence.values()) {
      expect(Buffer.byteLength(JSON.stringify(one))).toBeLessThan(24_000);
    }
  });

  it('lets the offline analyst make an analysis that is labelled, stored and charged', async () => {
    const [tenantId = ''] = evidence.keys();
    const outcome = await bench.run(finopsAnalysis, tenantId, { provider: offline });
    expect(outcome).toMatchObject({
      kind: 'done',
      result: { analyst: { offline: true }, totalCost: evidence.get(tenantId)?.totalCost },
    });
    const [stored] = await bench.test.sql`select * from analyses where tenant_id = ${tenantId}`;
    expect(stored?.['summary']).toContain('Offline statistical analysis');
    expect(Number(stored?.['cost_usd'])).toBeGreaterThan(0);
    expect(JSON.stringify(stored?.['recommendations'])).toContain(
      plantedFindings().idle.find((idle) => idle.tenantId === tenantId)?.resourceId,
    );
  });
});
