/**
 * The tables of BullMQ's Postgres backend (schema bullmq). BullMQ changes them under an advisory lock, which every
 * login can hold; where nothing is missing, nothing is locked.
 */
import {
  assertSchemaCompatibility,
  LATEST_SCHEMA_VERSION,
  runMigrations,
  SchemaMigrationRequiredError,
} from 'bullmq';

type Session = Parameters<typeof runMigrations>[0];

/** The part of a pg.Pool that is used. */
interface Pool {
  connect(): Promise<Session & { release(): void }>;
  end(): Promise<void>;
}

/** Creates or updates them, and ends the pool. */
export async function migrateTables(pool: Pool): Promise<void> {
  try {
    const session = await pool.connect();
    try {
      const version = await assertSchemaCompatibility(session).catch((error: unknown) => {
        if (error instanceof SchemaMigrationRequiredError) return 0;
        throw error;
      });
      if (version < LATEST_SCHEMA_VERSION) await runMigrations(session);
    } finally {
      session.release();
    }
  } finally {
    await pool.end();
  }
}
