/**
 * Moves staged rows into deliveries, inside the transaction of the ingestion: a billing period of a source is added,
 * replaced as a whole by a newer file, or left unchanged. Readers see the old delivery or the new one.
 */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Fragment, Tx } from '../../db/connect.ts';
import type { Bill } from './bills.ts';
import { targets } from './format.ts';

/** SQL text from constants, never from a file. */
const recordTargets = targets.filter((target) => target !== 'billing_period');
const stagedColumns = targets.join(', ');
const recordColumns = recordTargets.join(', ');
const stagedRecordColumns = recordTargets.map((target) => `r.${target}`).join(', ');

/** Outcome of one billing period of one source. */
export interface DeliveryOutcome {
  readonly source: string;
  /** First day of the billing period, `YYYY-MM-DD`. */
  readonly billingPeriod: string;
  readonly rows: number;
  /**
   * `emptied`: the export has no row of it for this tenant any more; `unchanged`: this very file was delivered before;
   * `superseded`: a newer upload was.
   */
  readonly outcome: 'added' | 'replaced' | 'emptied' | 'unchanged' | 'superseded';
}

export interface CurrencySum {
  readonly currency: string;
  readonly rows: number;
  /** Exact sum of billed_cost. */
  readonly billedCost: string;
}

/** COPY does not work into tables under RLS, so rows are staged in a temporary table first. */
export async function createStaging(tx: Tx): Promise<void> {
  await tx`
    create temporary table ingest_rows on commit drop as
    select line, ''::text as source, ${tx.unsafe(recordColumns)}, null::date as billing_period
    from public.cost_records with no data`;
}

/** Copies lines made by `createRowReader`; waits until the server has taken them. */
export async function stageRows(tx: Tx, copyLines: string): Promise<void> {
  const target = await tx`
    copy pg_temp.ingest_rows (line, source, ${tx.unsafe(stagedColumns)})
    from stdin`.writable();
  await pipeline(Readable.from([Buffer.from(copyLines)]), target);
}

/** Exact sums of the staged rows, per currency. */
export async function sumStaged(tx: Tx): Promise<CurrencySum[]> {
  return tx<CurrencySum[]>`
    select billing_currency as currency, count(*)::int as rows,
           trim_scale(sum(billed_cost))::text as "billedCost"
    from pg_temp.ingest_rows group by billing_currency order by billing_currency`;
}

/**
 * Gives staged rows of one bill the same source, however each spells it: that of the delivery that exists, or the first
 * of their own.
 */
async function nameSources(tx: Tx, tenantId: string): Promise<void> {
  await tx`
    update pg_temp.ingest_rows r set source = n.name
    from (
      select s.source, s.billing_period,
             coalesce(d.source, min(s.source) over (partition by s.key, s.billing_period)) as name
      from (select source, billing_period, purser.source_key(source) as key
            from pg_temp.ingest_rows group by source, billing_period) s
      left join public.cost_deliveries d on d.tenant_id = ${tenantId}
        and purser.source_key(d.source) = s.key and d.billing_period = s.billing_period
    ) n
    where r.source = n.source and r.billing_period = n.billing_period and n.name <> n.source`;
}

export interface Delivered {
  readonly tenantId: string;
  readonly uploadId: string;
  readonly fileHash: string;
  /** Bills of which the export has no row for this tenant any more. */
  readonly emptied: readonly Bill[];
}

/** The bills that the upload decides, with the number of staged rows. */
const decided = (tx: Tx, emptied: readonly Bill[]): Fragment => tx`
  decided as materialized (
    select source, billing_period, count(*) as rows from pg_temp.ingest_rows group by source, billing_period
    union all
    select source, period::date, 0
    from unnest(${emptied.map(({ source }) => source)}::text[],
                ${emptied.map(({ billingPeriod }) => billingPeriod)}::text[]) as e (source, period)
  )`;

/**
 * Locks the deliveries of the staged bills until the transaction ends, after which no other ingestion changes what they
 * are compared with. Returns the ids of those that did not exist. First rows are added and then all are locked, each in
 * the order of the unique key, so that two ingestions of one tenant wait for each other without a deadlock.
 */
export async function lockDeliveries(
  tx: Tx,
  { tenantId, uploadId, fileHash, emptied }: Delivered,
): Promise<readonly string[]> {
  await nameSources(tx, tenantId);
  const added = await tx<{ id: string }[]>`
    with ${decided(tx, emptied)}
    insert into public.cost_deliveries (tenant_id, source, billing_period, file_hash, upload_id, row_count)
    select ${tenantId}, source, billing_period, ${fileHash}, ${uploadId}::bigint, 0 from decided
    order by purser.source_key(source), billing_period
    on conflict (tenant_id, purser.source_key(source), billing_period) do nothing
    returning id`;
  await tx`
    with ${decided(tx, emptied)}
    select from public.cost_deliveries d
    where d.tenant_id = ${tenantId} and (purser.source_key(d.source), d.billing_period) in
      (select purser.source_key(source), billing_period from decided)
    order by purser.source_key(d.source), d.billing_period for update`;
  // Another ingestion may have made a delivery in between, under another spelling.
  await nameSources(tx, tenantId);
  return added.map(({ id }) => id);
}

/** Those of older uploads and other files, and those that are new, become deliveries of this upload. */
function takeDeliveries(
  tx: Tx,
  { tenantId, uploadId, fileHash, emptied }: Delivered,
  added: readonly string[],
): Promise<{ id: string }[]> {
  return tx<{ id: string }[]>`
    with ${decided(tx, emptied)}
    update public.cost_deliveries known
    set file_hash = ${fileHash}, upload_id = ${uploadId}::bigint, row_count = g.rows, delivered_at = now()
    from decided g
    where known.tenant_id = ${tenantId} and known.billing_period = g.billing_period
      and purser.source_key(known.source) = purser.source_key(g.source)
      and (known.id = any(${[...added]}::bigint[]) or known.upload_id < ${uploadId}::bigint
        and (known.file_hash <> ${fileHash}
          -- Somebody has deleted rows of it.
          or known.row_count <> (select count(*) from public.cost_records r where r.delivery_id = known.id)))
    returning known.id`;
}

/**
 * Moves the staged rows into their deliveries, of which `lockDeliveries` has added some. Returns one outcome per source
 * and billing period.
 */
export async function deliver(
  tx: Tx,
  delivered: Delivered,
  added: readonly string[],
): Promise<DeliveryOutcome[]> {
  const ids = (await takeDeliveries(tx, delivered, added)).map(({ id }) => id);
  const replaced = ids.filter((id) => !added.includes(id));
  if (replaced.length > 0) {
    await tx`delete from public.cost_records where delivery_id = any(${replaced}::bigint[])`;
  }
  await tx`
    insert into public.cost_records (delivery_id, line, tenant_id, ${tx.unsafe(recordColumns)})
    select d.id, r.line, ${delivered.tenantId}, ${tx.unsafe(stagedRecordColumns)}
    from pg_temp.ingest_rows r
    join public.cost_deliveries d using (source, billing_period)
    where d.tenant_id = ${delivered.tenantId} and d.id = any(${ids}::bigint[])`;
  return tx<DeliveryOutcome[]>`
    with ${decided(tx, delivered.emptied)}
    select d.source, d.billing_period::text as "billingPeriod", g.rows::int,
           case when d.id = any(${ids}::bigint[]) and g.rows = 0 then 'emptied'
                when d.id = any(${replaced}::bigint[]) then 'replaced'
                when d.id = any(${ids}::bigint[]) then 'added'
                when d.file_hash = ${delivered.fileHash} then 'unchanged'
                else 'superseded' end as outcome
    from decided g
    join public.cost_deliveries d on d.tenant_id = ${delivered.tenantId}
      and purser.source_key(d.source) = purser.source_key(g.source) and d.billing_period = g.billing_period
    order by d.source, d.billing_period`;
}
