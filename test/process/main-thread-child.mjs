/** A process with both watches and small limits: `node main-thread-child.mjs works|blocks`. Says "round" again and again. */
import { setTimeout as sleep } from 'node:timers/promises';
import { startLoop } from '../../dist/process/loop.js';
import { createLogger } from '../../dist/log.js';
import { watchMainThread } from '../../dist/process/main-thread-watch.js';
import { StallWatchdog } from '../../dist/process/stall-watchdog.js';

const limitMs = 1_000;
const tickMs = 50;
const log = createLogger({ level: 'info', role: 'child' });
watchMainThread({ role: 'child', log, blockedAfterMs: limitMs, tickMs });
const watchdog = new StallWatchdog({ log, tickMs, onStall: () => process.exit(1) });
let rounds = 0;
startLoop({
  name: 'rounds',
  everyMs: 20,
  log,
  watchdog: { expect: (name) => watchdog.expect(name, limitMs) },
  runOnce: async () => {
    rounds += 1;
    process.stdout.write(`round ${rounds}\n`);
    // Long enough for a process to be stopped within a round.
    await sleep(300);
    for (;;) if (process.argv[2] !== 'blocks' || rounds < 3) return 0;
  },
});
process.on('SIGTERM', () => process.exit(0));
