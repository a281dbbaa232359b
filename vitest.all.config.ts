/** `npm run test:all`: every suite but those of test/faults, slow ones included. */
import { defineConfig } from 'vitest/config';
import { suites } from './vitest.suites.ts';

export default defineConfig({ test: suites() });
