/**
 * Built-in job `key_rotation`: re-encrypts the values of one column of one tenant under the current write key, in
 * batches, while the fleet works. After an interruption it resumes with the rows that are left; a value that cannot
 * be decrypted is counted and stays.
 */
import { z } from 'zod';
import type { EncryptionContext } from '../crypto/context.ts';
import type { EncryptionKeyManager } from '../crypto/keyring.ts';
import type { OpenKeys } from '../crypto/open-keyring.ts';
import { codeOf, PurserError } from '../errors.ts';
import { keyVersionToWrite } from '../jobs/key-versions.ts';
import { listValuesToRotate, rotationJobType, storeRotated } from '../jobs/rotation.ts';
import type { EncryptedValue } from '../jobs/rotation.ts';
import { defineHandler } from './define.ts';
import type { Handler, JobContext } from './define.ts';
import { snooze } from './outcome.ts';

const batchRows = 500;
/** One run is kept short, far below the deadline, so that other jobs of the tenant run in between. */
const maxRunMs = 120_000;
const recheckAfterMs = 5_000;
/** Maximum rows that could not be decrypted that the result names. */
const maxReportedRows = 20;
/** The value cannot be decrypted, or is larger than a token may hold. */
const valueErrorCodes = new Set(['decryption_failed', 'plaintext_too_large']);

const payload = z.object({ place: z.string(), toVersion: z.number().int().positive() });
type Context = JobContext<z.output<typeof payload>>;

interface Progress {
  rotated: number;
  /** Rows that another transaction changed in the meantime. */
  changedMeanwhile: number;
  readonly failedRows: Set<string>;
}

async function rotateBatch(
  ctx: Context,
  keyring: EncryptionKeyManager,
  values: readonly EncryptedValue[],
  progress: Progress,
): Promise<void> {
  const { place, toVersion } = ctx.payload;
  const done: { rowId: string; token: string; rotated: string }[] = [];
  for (const { rowId, token, ...at } of values) {
    try {
      const { ciphertext } = await keyring.reencrypt(token, contextOf(ctx.tenantId, at), toVersion);
      done.push({ rowId, token, rotated: ciphertext });
    } catch (error) {
      if (!valueErrorCodes.has(codeOf(error))) throw error;
      progress.failedRows.add(rowId);
    }
  }
  if (done.length === 0) return;
  const replaced = await storeRotated(ctx.sql, place, toVersion, done);
  progress.rotated += replaced;
  progress.changedMeanwhile += done.length - replaced;
}

/** Visits each row once. Returns false when `untilMs` passed before the last row. */
async function rotatePass(
  ctx: Context,
  keyring: EncryptionKeyManager,
  progress: Progress,
  untilMs: number,
): Promise<boolean> {
  const { place, toVersion } = ctx.payload;
  let afterRow: string | null = null;
  for (;;) {
    ctx.signal.throwIfAborted();
    const values = await listValuesToRotate(ctx.sql, place, toVersion, {
      afterRow,
      limit: batchRows,
    });
    const last = values.at(-1);
    if (last === undefined) return true;
    await rotateBatch(ctx, keyring, values, progress);
    afterRow = last.rowId;
    ctx.progress(0, `${progress.rotated} values of ${place} re-encrypted`);
    if (performance.now() > untilMs) return false;
  }
}

async function rotate(ctx: Context, keyring: EncryptionKeyManager): Promise<unknown> {
  const { place, toVersion } = ctx.payload;
  const version = await keyVersionToWrite(ctx.sql, keyring);
  if (version !== toVersion) {
    return snooze({
      reason: `key version ${toVersion} is not the write key yet, ${version} is: see purser keys status`,
      afterMs: recheckAfterMs,
    });
  }
  const untilMs = performance.now() + maxRunMs;
  const total = { rotated: 0 };
  for (;;) {
    const progress: Progress = { rotated: 0, changedMeanwhile: 0, failedRows: new Set() };
    const finished = await rotatePass(ctx, keyring, progress, untilMs);
    total.rotated += progress.rotated;
    if (!finished) {
      return snooze({ reason: `${total.rotated} values re-encrypted, more remain`, afterMs: 0 });
    }
    if (progress.changedMeanwhile === 0) {
      const { failedRows } = progress;
      return {
        place,
        toVersion,
        rotated: total.rotated,
        failed: failedRows.size,
        failedRows: [...failedRows].slice(0, maxReportedRows),
      };
    }
  }
}

function contextOf(
  tenantId: string,
  { place, purpose }: Pick<EncryptedValue, 'place' | 'purpose'>,
): EncryptionContext {
  const context = contextShape.safeParse({ tenantId, column: place, purpose });
  if (context.success) return context.data;
  throw new PurserError(
    'encryption_context_invalid',
    `${place} is not a column of encrypted values`,
  );
}

const contextShape = z.object({
  tenantId: z.string(),
  column: z.templateLiteral([z.string(), '.', z.string()]),
  purpose: z.enum(['api_key', 'pii', 'generic']),
});

/** The handler with the keys of its thread, which are derived when the first job needs them. */
export const keyRotation = (openKeys: OpenKeys): Handler<typeof payload> =>
  defineHandler({
    type: rotationJobType,
    timeoutMs: 600_000,
    maxAttempts: 20,
    giveUpAfterMs: 7 * 86_400_000,
    concurrency: 2,
    payload,
    run: (ctx) => rotate(ctx, openKeys()),
  });
