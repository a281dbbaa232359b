/**
 * `cost_ingestion`: turns an uploaded export into cost rows, in one transaction and in bounded memory at any size.
 * Ingesting a file twice adds nothing; a row with a fault is reported and the others are stored.
 */
import { z } from 'zod';
import { ingestUpload, recordFailure } from '../costs/uploads/ingest.ts';
import type { Ingestion } from '../costs/uploads/ingest.ts';
import { IngestionReport } from '../costs/uploads/report.ts';
import { lockUpload } from '../costs/uploads/rows.ts';
import { messageOf, PurserError } from '../errors.ts';
import { defineHandler } from './define.ts';
import { done, snooze } from './outcome.ts';

const payload = z.object({ uploadId: z.string().regex(/^\d{1,18}$/) });

/** Result: `IngestionResult`. A file that cannot be read at all ends fatal, with the upload `failed`. */
export const costIngestion = defineHandler({
  type: 'cost_ingestion',
  timeoutMs: 30 * 60_000,
  maxAttempts: 5,
  payload,
  run: async (ctx) => {
    const { uploadId } = ctx.payload;
    const { tenantId, signal } = ctx;
    const ingestion: Ingestion = { tenantId, signal, report: new IngestionReport() };
    try {
      return await ctx.sql.begin(async (tx) => {
        const upload = await lockUpload(tx, uploadId);
        if (upload.state === 'uploading') {
          return snooze({ afterMs: 2000, reason: `upload ${uploadId} is not complete yet` });
        }
        if (upload.state === 'failed') {
          const reason = upload.failure ?? `upload ${uploadId} failed`;
          throw new PurserError('upload_failed', reason, { details: { class: 'fatal' } });
        }
        if (upload.state !== 'ready') return done(upload.result);
        return done(await ingestUpload(tx, upload, ingestion));
      });
    } catch (error) {
      const fatal = error instanceof PurserError && error.details['class'] === 'fatal';
      if (fatal && error.code !== 'unknown_upload') {
        await ctx.sql.begin((tx) => recordFailure(tx, uploadId, messageOf(error), ingestion));
      }
      throw error;
    }
  },
});
