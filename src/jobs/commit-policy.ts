/**
 * Statements whose commit may be lost in a crash of Postgres itself, and no other: they are answered before the commit
 * is on disk (at most about 0.6 s earlier, three times wal_writer_delay). The log is written in order, so whatever is
 * committed later and waits for the disk takes them with it. docs/architecture.md has the reason for each step.
 */
import type { Queryable } from '../db/connect.ts';

/** A common table expression; the statement has to read from `commit_policy`. `purser.begin_attempts` decides by itself. */
export const mayBeLost = (sql: Queryable) => sql`
  commit_policy as materialized (select set_config('synchronous_commit', 'off', true))`;
