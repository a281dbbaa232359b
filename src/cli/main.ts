#!/usr/bin/env node
/**
 * The entry point of every process. A role handles signals before any other module is loaded: a stop signal
 * during start-up ends it with exit code 0.
 */
import { leaveOnSignals, signalsHandled } from '../process/lifecycle.ts';
import { rememberParent } from '../process/parent-watch.ts';

if (process.argv[2] === 'start') {
  leaveOnSignals();
  rememberParent();
}
const { runMain } = await import('./terminal/run.ts');
// A signal that arrived while the modules were loading is handled here, before the command starts.
await signalsHandled();
await runMain();
