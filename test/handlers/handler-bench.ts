/**
 * A database with tenants, and handlers run on it as the worker runs them: through a real token, the
 * tenant role and the commit fence.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { closeOperatorToken, openOperatorToken, tenantSql } from '../../src/db/tenant.ts';
import type { TenantSql } from '../../src/db/tenant.ts';
import type { Database } from '../../src/db/database.ts';
import { costIngestion } from '../../src/handlers/cost-ingestion.ts';
import type { IngestionResult } from '../../src/handlers/cost-ingestion.ts';
import { parsePayload } from '../../src/handlers/define.ts';
import type { Handler, JobContext } from '../../src/handlers/define.ts';
import { toOutcome } from '../../src/handlers/outcome.ts';
import type { Outcome } from '../../src/handlers/outcome.ts';
import { uploadFile } from '../../src/handlers/uploads.ts';
import type { Llm } from '../../src/llm/llm.ts';
import { createLogger } from '../../src/log.ts';
import { freshDatabase } from '../support/database.ts';
import type { TestDatabase } from '../support/database.ts';

export interface RunOptions {
  readonly payload?: object;
  readonly jobId?: string;
  readonly llm?: Llm;
  readonly signal?: AbortSignal;
}

export interface HandlerBench {
  readonly test: TestDatabase;
  readonly database: Database;
  addTenant(id: string): Promise<void>;
  /** A file in the bench's own folder. */
  file(name: string, content: string | Buffer): Promise<string>;
  run(handler: Handler, tenantId: string, options?: RunOptions): Promise<Outcome>;
  /** Uploads and ingests; the result of the job. */
  ingest(tenantId: string, path: string, source?: string): Promise<IngestionResult>;
  ingestUpload(tenantId: string, uploadId: string): Promise<IngestionResult>;
  asTenant<T>(tenantId: string, fn: (sql: TenantSql) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

const noLlm: Llm = {
  generate: () => {
    throw new Error('this test expects no call');
  },
};

export async function openBench(): Promise<HandlerBench> {
  const test = await freshDatabase();
  const database = await test.open();
  const folder = await mkdtemp(join(tmpdir(), 'purser-handlers-'));
  const log = createLogger({ level: 'silent', role: 'test' });

  const asTenant = async <T>(tenantId: string, fn: (sql: TenantSql) => Promise<T>): Promise<T> => {
    const token = await openOperatorToken(database.system, tenantId, 600_000);
    try {
      return await fn(tenantSql(database.tenant, { token }));
    } finally {
      await closeOperatorToken(database.system, token);
    }
  };
  const run = (handler: Handler, tenantId: string, options: RunOptions = {}): Promise<Outcome> =>
    asTenant(tenantId, async (sql) => {
      const ctx: JobContext<unknown> = {
        jobId: options.jobId ?? '1',
        tenantId,
        payload: await parsePayload(handler, options.payload ?? {}),
        attempt: 1,
        token: '',
        signal: options.signal ?? new AbortController().signal,
        sql,
        llm: options.llm ?? noLlm,
        enqueue: () => Promise.reject(new Error('this test expects no child job')),
        log,
      };
      return toOutcome(await handler.run(ctx));
    });
  const ingestUpload = async (tenantId: string, uploadId: string): Promise<IngestionResult> => {
    const outcome = await run(costIngestion, tenantId, { payload: { uploadId } });
    if (outcome.kind !== 'done') throw new Error(`ingestion ended as ${outcome.kind}`);
    return outcome.result as IngestionResult;
  };
  return {
    test,
    database,
    addTenant: async (id) => {
      await test.sql`insert into tenants (id) values (${id}) on conflict do nothing`;
    },
    file: async (name, content) => {
      const path = join(folder, name);
      await writeFile(path, content);
      return path;
    },
    run,
    ingest: async (tenantId, path, source) => {
      const onReady = (): Promise<void> => Promise.resolve();
      const upload = await uploadFile({ database, tenantId, path, source, onReady });
      return ingestUpload(tenantId, upload.uploadId);
    },
    ingestUpload,
    asTenant,
    close: async () => {
      await rm(folder, { recursive: true, force: true });
      await test.close();
    },
  };
}
