/**
 * The suites that `npm test` leaves out and `npm run test:all` runs, each with its reason, and for every promise of
 * the design the suites of `npm test` that would catch its breach. Paths are relative to test/.
 */

interface SlowSuite {
  readonly file: string;
  readonly reason: string;
}

export const slowSuites: readonly SlowSuite[] = [
  {
    file: 'db/stable-plans-million.test.ts',
    reason: 'fills a table with 1,000,000 jobs; db/stable-plans does the same on 10,000',
  },
  {
    file: 'cli/startup/walk/faults.test.ts',
    reason:
      'starts a process for every start-up step and fault; cli/startup/run-steps tests the runner',
  },
  {
    file: 'e2e/installs.test.ts',
    reason:
      'installs the package in several ways for 45 s; db/patches and db/driver test the patched driver',
  },
  {
    file: 'e2e/leaks.test.ts',
    reason:
      'one fleet on each backend for 45 s; crypto/secrets and worker/secret-payload test redaction',
  },
  {
    file: 'budget/look-up/fleet.test.ts',
    reason: 'starts a fleet; look-up.test.ts beside it covers each step',
  },
  {
    file: 'e2e/outages.test.ts',
    reason:
      'waits out real outages of Redis and Postgres for 30 s; process/loop tests the back-off',
  },
  {
    file: 'e2e/own-handlers.test.ts',
    reason:
      'starts a process for each faulty handlers module; handlers/ tests loading in this process',
  },
  {
    file: 'e2e/rotation.test.ts',
    reason: 're-encrypts 10,000 rows under kill -9; handlers/key-rotation tests it on a few rows',
  },
  {
    file: 'e2e/secrets.test.ts',
    reason:
      'searches everything that a whole fleet wrote; e2e/demo covers the fleet, crypto/ the secrets',
  },
  {
    file: 'e2e/signals.test.ts',
    reason:
      'sends signals at many moments of a start-up; process/lifecycle tests the order of closing',
  },
  {
    file: 'e2e/stopping.test.ts',
    reason: 'stops roles while a store is away; process/lifecycle tests the order of closing',
  },
  {
    file: 'cli/locks/tenant-locks.test.ts',
    reason:
      'runs every command against every lock of a tenant for four minutes; cli/locks/lock-held tests three',
  },
  {
    file: 'db/locks/migrate-walk.test.ts',
    reason: 'migrates beside every lock of a tenant for minutes; db/locks/migrate tests some',
  },
  {
    file: 'db/embedded/root.test.ts',
    reason:
      'needs root and a second user; db/embedded/embedded tests the embedded Postgres as this user',
  },
  {
    file: 'platform/connections.test.ts',
    reason: 'counts the Postgres connections of whole fleets under load, on both backends',
  },
  {
    file: 'platform/procfile.test.ts',
    reason: 'runs the Procfile by a foreman, straight and through PgBouncer',
  },
  {
    file: 'process/npm.test.ts',
    reason: 'runs workers under npm and npx for 20 s; process/parent-watch tests the watch',
  },
  {
    file: 'process/main-thread-watch.test.ts',
    reason: 'blocks and stops a process for longer than the limits of its watchdog',
  },
  {
    file: 'tenancy/two-hundred-tenants.test.ts',
    reason: '100,000 checked reads; tenancy/borrowed-connection tests the same with a few',
  },
  {
    file: 'worker/queue-watch.test.ts',
    reason: 'waits until a queue that hands nothing over is noticed',
  },
  {
    file: 'db/embedded/embedded.test.ts',
    reason:
      'kills and recovers the embedded Postgres many times; e2e/demo and platform/files start it once',
  },
  {
    file: 'llm/store-outage.test.ts',
    reason:
      'waits out outages of the database; db/store-errors tests how their errors are classified',
  },
  {
    file: 'platform/pgbouncer/fleet.test.ts',
    reason: 'runs fleets through PgBouncer',
  },
  {
    file: 'platform/pgbouncer/sessions.test.ts',
    reason: 'needs PgBouncer; tenancy/borrowed-connection tests sessions without it',
  },
  {
    file: 'platform/pgbouncer/settings.test.ts',
    reason: 'needs PgBouncer; db/session-settings tests the settings without it',
  },
  {
    file: 'web/console/jobs/browser.test.ts',
    reason:
      'drives chromium through every page, three times with axe-core; the suites beside it test the pages and their acts',
  },
  {
    file: 'web/console/evening.test.ts',
    reason:
      'replays 4,000 dead letters in chromium by a fleet on each backend; web/console/jobs/batches tests each act',
  },
  {
    file: 'web/status.test.ts',
    reason: 'waits until health notices a stalled fleet; web/readiness tests one process',
  },
  {
    file: 'worker/backends/postgres.test.ts',
    reason: 'the suite of worker/backends/redis on the other queue store',
  },
  {
    file: 'worker/outages.test.ts',
    reason: '40 outages at 8 calls; db/store-errors tests how their errors are classified',
  },
];

/** Promise (section 1 of the design) -> suites of `npm test`. */
export const promiseSuites: Readonly<Record<string, readonly string[]>> = {
  'an accepted job ends': [
    'worker/backends/redis.test.ts',
    'jobs/sweep.test.ts',
    'e2e/fleet.test.ts',
  ],
  'one attempt at a time, and a stale one cannot act': ['jobs/attempts.test.ts'],
  'a deadline is a deadline': ['worker/job-timeout.test.ts'],
  'no spend without a hold': [
    'budget/reserve.test.ts',
    'budget/crashes/crash.test.ts',
    'budget/model/model.test.ts',
    'budget/storm/storm.test.ts',
  ],
  'no tenant data without a tenant': ['tenancy/rls-enforcement.test.ts', 'tenancy/hostile.test.ts'],
  'no tick twice, none silently missed': ['scheduler/scheduler-atomicity.test.ts'],
  'one tenant cannot starve another': ['jobs/dispatch/turns.test.ts'],
  'every act of an operator is on the record': [
    'operations/walk.test.ts',
    'operations/record.test.ts',
    'operations/doors.test.ts',
  ],
};
