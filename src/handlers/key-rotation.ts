/**
 * Built-in job `key_rotation`: encrypts one place of one tenant anew under the key that writes now, in batches
 * and while the fleet works. Killed or stopped, it goes on where rows are left; a value that does not open is
 * counted and stays.
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
/** Then other work of the tenant has its turn; far below the deadline. */
const turnMs = 120_000;
const askAgainMs = 5_000;
/** Rows that did not open are named in the result up to this number. */
const namedRows = 20;
/** It does not open, or the earlier service took more than a token may hold. */
const faultsOfValue = new Set(['decryption_failed', 'plaintext_too_large']);

const payload = z.object({ place: z.string(), toVersion: z.number().int().positive() });
type Context = JobContext<z.output<typeof payload>>;

interface Progress {
  rotated: number;
  /** Changed by somebody else in the meantime. */
  missed: number;
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
      if (!faultsOfValue.has(codeOf(error))) throw error;
      progress.failedRows.add(rowId);
    }
  }
  if (done.length === 0) return;
  const replaced = await storeRotated(ctx.sql, place, toVersion, done);
  progress.rotated += replaced;
  progress.missed += done.length - replaced;
}

/** Each row is met once, whether it opens or not. Returns false when the turn was over first. */
async function pass(
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
    ctx.progress(0, `${progress.rotated} values of ${place} encrypted anew`);
    if (performance.now() > untilMs) return false;
  }
}

async function rotate(ctx: Context, keyring: EncryptionKeyManager): Promise<unknown> {
  const { place, toVersion } = ctx.payload;
  const version = await keyVersionToWrite(ctx.sql, keyring);
  if (version !== toVersion) {
    return snooze({
      reason: `key version ${toVersion} does not write yet, ${version} does: see purser keys status`,
      afterMs: askAgainMs,
    });
  }
  const untilMs = performance.now() + turnMs;
  const total = { rotated: 0 };
  for (;;) {
    const progress: Progress = { rotated: 0, missed: 0, failedRows: new Set() };
    const finished = await pass(ctx, keyring, progress, untilMs);
    total.rotated += progress.rotated;
    if (!finished) {
      return snooze({ reason: `${total.rotated} values done, more are left`, afterMs: 0 });
    }
    if (progress.missed === 0) {
      const { failedRows } = progress;
      return {
        place,
        toVersion,
        rotated: total.rotated,
        failed: failedRows.size,
        failedRows: [...failedRows].slice(0, namedRows),
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
  throw new PurserError('encryption_context_invalid', `${place} is no place of encrypted values`);
}

const contextShape = z.object({
  tenantId: z.string(),
  column: z.templateLiteral([z.string(), '.', z.string()]),
  purpose: z.enum(['api_key', 'pii', 'generic']),
});

/** The handler over the keys of its thread, which are opened when the first job needs them. */
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
