/** A process of its own that ingests one upload: `ingest-child.ts URL TENANT UPLOAD`, made to be killed. */
import { randomUUID } from 'node:crypto';
import { openDatabase } from '../../src/db/database.ts';
import { tenantSql } from '../../src/db/tenant.ts';
import { costIngestion } from '../../src/handlers/cost-ingestion.ts';
import { createLogger } from '../../src/log.ts';
import { ingestingName } from './ingesting-name.ts';

const [url = '', tenantId = '', uploadId = ''] = process.argv.slice(2);
const database = await openDatabase({
  url,
  applicationName: ingestingName,
  systemConnections: 1,
  tenantConnections: 1,
});
const { signal } = new AbortController();
const attempt = { tenantId, jobId: String(process.pid), attempt: 1, token: randomUUID() };
await database.system`
  insert into purser.context_tokens (token, tenant_id, job_id, attempt)
  values (${attempt.token}, ${tenantId}, ${attempt.jobId}::bigint, 1)`;
await costIngestion.run({
  ...attempt,
  payload: { uploadId },
  signal,
  sql: tenantSql(database.tenant, { token: attempt.token }),
  llm: { generate: () => Promise.reject(new Error('an ingestion asks no model')) },
  enqueue: () => Promise.reject(new Error('an ingestion enqueues nothing')),
  progress: () => {},
  log: createLogger({ level: 'silent', role: 'test' }),
});
await database.close();
