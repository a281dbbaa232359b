/** The watch of a role's parent process: one request to stop, when the parent has changed and not before. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { stopWithParent } from '../../src/process/parent-watch.ts';

it('requests a stop once, when the parent is another, and none after the watch has ended', async () => {
  let parent = process.ppid;
  const reasons: string[] = [];
  const lifecycle = { requestStop: (reason: string) => void reasons.push(reason) };
  const options = { parentOf: () => parent, everyMs: 2 };
  stopWithParent(lifecycle, options);
  const end = stopWithParent({ requestStop: () => reasons.push('ended watch') }, options);
  await sleep(20);
  expect(reasons).toEqual([]);
  end();
  parent = 1;
  await sleep(40);
  expect(reasons).toEqual(['the npm script that started this process has ended']);
});
