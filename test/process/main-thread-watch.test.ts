/** A process with a blocked main thread is killed; one that was suspended and resumed is not. */
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { startNode } from '../support/process.ts';

const script = fileURLToPath(new URL('main-thread-child.mjs', import.meta.url));

it('kills a process whose main thread is blocked, after a log line', async () => {
  const child = startNode([script, 'blocks'], 'a blocked child');
  const { signal, stdout, stderr } = await child.waitForExit();
  expect(signal).toBe('SIGKILL');
  expect(stdout).toMatch(/round 3$/);
  expect(JSON.parse(stderr)).toMatchObject({
    level: 'fatal',
    role: 'child',
    event: 'process_stalled',
    task: 'main thread',
    silentMs: 1_000,
  });
});

it('does not kill a process that was suspended for longer than the limit', async () => {
  const child = startNode([script, 'works'], 'a stopped child');
  await child.waitForLine(/^round 3$/);
  for (let stops = 0; stops < 2; stops += 1) {
    child.signal('SIGSTOP');
    await sleep(3_000);
    const before = child.stdout.length;
    child.signal('SIGCONT');
    // More rounds than fit into the limit: both watches have judged since.
    await child.waitForLine(new RegExp(`^round ${before + 5}$`));
  }
  child.signal('SIGTERM');
  expect(await child.waitForExit()).toMatchObject({ code: 0, stderr: '' });
});
