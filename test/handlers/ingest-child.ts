/** A process of its own that ingests one upload: `ingest-child.ts URL TENANT UPLOAD`, made to be killed. */
import { openDatabase } from '../../src/db/database.ts';
import { tenantSql } from '../../src/db/tenant.ts';
import { costIngestion } from '../../src/handlers/cost-ingestion.ts';
import { createLogger } from '../../src/log.ts';
import { ingestingName } from './ingesting-name.ts';
import { newToken } from '../../src/jobs/attempts.ts';
import { insertAttempt } from '../support/tenants.ts';

const [url = '', tenantId = '', uploadId = ''] = process.argv.slice(2);
const database = await openDatabase({
  url,
  applicationName: ingestingName,
  systemConnections: 1,
  tenantConnections: 1,
});
const { signal } = new AbortController();
const jobId = String(process.pid);
const attempt = { tenantId, jobId, attempt: 1, token: newToken(jobId) };
await insertAttempt(database.system, attempt);
await costIngestion.run({
  ...attempt,
  payload: { uploadId },
  signal,
  sql: tenantSql(database.tenant, { token: attempt.token }),
  llm: {
    generate: () => Promise.reject(new Error('an ingestion asks no model')),
    stream: () => {
      throw new Error('an ingestion asks no model');
    },
  },
  enqueue: () => Promise.reject(new Error('an ingestion enqueues nothing')),
  progress: () => {},
  log: createLogger({ level: 'silent', role: 'test' }),
});
await database.close();
