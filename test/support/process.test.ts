import { expect, it } from 'vitest';
import { startNode } from './process.ts';

const script = (body: string) => ['--input-type=module', '--eval', body];

it('waits for a line of either stream and collects both to the end', async () => {
  const child = startNode(
    script(
      `console.log('one'); console.error('two ready'); setTimeout(() => console.log('three'))`,
    ),
    'a script',
  );
  expect(await child.waitForLine(/ready/)).toBe('two ready');
  expect(await child.waitForExit()).toEqual({
    code: 0,
    signal: null,
    stdout: 'one\nthree',
    stderr: 'two ready',
  });
});

it('says what a child wrote last when it ends before the line that was waited for', async () => {
  const child = startNode(script(`console.error('no such setting'); process.exit(78)`), 'a script');
  await expect(child.waitForLine(/ready/)).rejects.toThrow(/ended with 78[^]*no such setting/);
});

it('hides the environment of the test run from a child, but for what a test gives it', async () => {
  const body = `console.log(JSON.stringify(Object.keys(process.env).toSorted()))`;
  const child = startNode(script(body), 'a script', { env: { GIVEN: 'yes', TMPDIR: undefined } });
  const { stdout } = await child.waitForExit();
  const names: string[] = JSON.parse(stdout);
  const known = ['GIVEN', 'HOME', 'NODE_V8_COVERAGE', 'PATH'];
  expect(names.filter((name) => !known.includes(name))).toEqual([]);
  expect(names).toContain('GIVEN');
});

it('sends signals and kills', async () => {
  const body = `process.on('SIGTERM', () => console.log('asked')); setInterval(() => {}, 1e6); console.log('up')`;
  const child = startNode(script(body), 'a script');
  await child.waitForLine(/up/);
  child.signal('SIGTERM');
  await child.waitForLine(/asked/);
  await child.kill();
  expect(await child.waitForExit()).toMatchObject({ code: null, signal: 'SIGKILL' });
});
