/** Ends Postgres at once, and returns when it answers again: `kill-postgres.ts PID URL`, so that a test can block on it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from '../../../src/db/connect.ts';

const [, , pid = '', url = ''] = process.argv;
process.kill(Number(pid), 'SIGKILL');
for (;;) {
  const sql = connect(url, { max: 1, applicationName: 'purser test crash' });
  try {
    const [row] = await sql<{ writer: number | null }[]>`
      select (select pid from pg_stat_activity where backend_type = 'walwriter') as writer`;
    if (row !== undefined && row.writer !== null && String(row.writer) !== pid) break;
  } catch {
    // It is not back yet.
  } finally {
    await sql.end({ timeout: 1 });
  }
  await sleep(20);
}
