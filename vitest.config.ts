/**
 * `npm test`: one Postgres for the whole run (test/support/global-setup.ts), one database per test file. Leaves out
 * the suites of test/slow-suites.ts, which `npm run test:all` runs too.
 */
import { defineConfig } from 'vitest/config';
import { slowSuites } from './test/slow-suites.ts';
import { suites } from './vitest.suites.ts';

export default defineConfig({ test: suites(slowSuites.map(({ file }) => file)) });
