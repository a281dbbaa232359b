#!/usr/bin/env node
/**
 * The entry of every process. A role listens for signals before anything else is loaded: told to stop in
 * its first moments, it has begun nothing and ends with exit code 0.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { leaveOnSignals } from '../process/lifecycle.ts';

if (process.argv[2] === 'start') leaveOnSignals();
const { runMain } = await import('./terminal/run.ts');
// A signal that came while the modules ran is heard here, before anything begins.
await nextTurn();
await runMain();
