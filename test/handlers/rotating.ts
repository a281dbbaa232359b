/** An old and a new encryption key, and a function that runs waiting `key_rotation` jobs as a worker would. */
import { EncryptionKeyManager } from '../../src/crypto/keyring.ts';
import { generateSalt } from '../../src/crypto/salt.ts';
import type { Database } from '../../src/db/database.ts';
import { tenantSql } from '../../src/db/tenant.ts';
import type { JobContext } from '../../src/handlers/define.ts';
import { keyRotation } from '../../src/handlers/key-rotation.ts';
import { toOutcome } from '../../src/handlers/outcome.ts';
import type { Outcome } from '../../src/handlers/outcome.ts';
import { createHandlerLlm } from '../../src/llm/handler-llm.ts';
import { begin, claim, finish } from '../jobs/job-steps.ts';
import { silentLog } from '../support/llm-attempt.ts';

const salt = generateSalt();
const iterations = 100_000;
const one = { version: 1, key: 'the first key of all', salt, iterations };
const two = { version: 2, key: 'the second key of all', salt, iterations };
export const oldKeys = new EncryptionKeyManager({ primary: one });
export const bothKeys = new EncryptionKeyManager({ primary: two, legacy: [one] });
export const newKeys = new EncryptionKeyManager({ primary: two });

/** Runs every waiting `key_rotation` job with both keys. */
export async function rotateAll({ system, tenant }: Database): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const job of await claim(system, 1_000, 'key_rotation')) {
    const attempt = await begin(system, job);
    const handler = keyRotation(() => bothKeys);
    const ctx: JobContext<unknown> = {
      jobId: attempt.jobId,
      tenantId: attempt.tenantId,
      payload: JSON.parse(attempt.payload),
      attempt: 1,
      token: attempt.token,
      signal: new AbortController().signal,
      sql: tenantSql(tenant, { token: attempt.token }),
      llm: createHandlerLlm(() => Promise.reject(new Error('no call is expected'))),
      enqueue: () => Promise.reject(new Error('no child is expected')),
      progress: () => {},
      log: silentLog,
    };
    outcomes.push(toOutcome(await handler.run(ctx)));
    await finish(system, attempt);
  }
  return outcomes;
}
