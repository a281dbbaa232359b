/**
 * postgres.js as published can end the process when a session is lost, and can run a statement of one transaction
 * in the next one: patches/ has the differences. Nothing connects by a copy of the driver without exactly
 * these patches. The mark is read from the module that is imported here and in connect.ts, wherever Node found it.
 */
import postgres from 'postgres';
import { exitCodes, PurserError } from '../errors.ts';

/** What patches/postgres+3.4.9+009+mark.patch writes into the driver. */
export const driverMark = 'purser 81bda3135d8f';

/** Throws `driver_not_patched` (exit 78), naming the fix. */
export function assertDriverPatched(driver: object = postgres): void {
  const found: unknown = 'patchedBy' in driver ? driver.patchedBy : undefined;
  if (found === driverMark) return;
  throw new PurserError(
    'driver_not_patched',
    `the database driver postgres.js lacks purser's patches (its mark is ${JSON.stringify(found) ?? 'missing'}, not "${driverMark}").\n` +
      '  In a clone of purser run: npm run prepare\n' +
      '  Where purser is a dependency, remove node_modules/purser and install it again: the package carries a\n' +
      '  patched copy. An `overrides` entry for postgres takes that copy away.',
    { exitCode: exitCodes.configuration },
  );
}
