/**
 * A handler whose SQL means harm, on each level of tenancy: every way out that is known, what it comes to, and
 * that docs/security.md says the same.
 */
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { borrowingWays } from './hostile/borrowing.ts';
import { contextWays } from './hostile/context.ts';
import { definitionWays } from './hostile/definitions.ts';
import { measure, setScene } from './hostile/hostile.ts';
import type { Scene, Way } from './hostile/hostile.ts';
import { readingWays } from './hostile/reading.ts';
import { sessionWays } from './hostile/sessions.ts';
import { levels } from './level-database.ts';

const ways: readonly Way[] = [
  ...readingWays,
  ...contextWays,
  ...borrowingWays,
  ...definitionWays,
  ...sessionWays,
];

describe.each(levels)('hostile SQL at level %s', (level) => {
  let scene: Scene;
  beforeAll(async () => {
    scene = await setScene(level);
  });
  afterAll(() => scene.standing.close());

  it.each(ways.map((way) => [way.name, way.outcomes[level], way] as const))(
    '%s: %s',
    async (_name, outcome, way) => {
      const measured = await measure(way, scene);
      if (measured.damaged) {
        await scene.standing.close();
        scene = await setScene(level);
      }
      expect(measured.outcome, `${measured.code} ${measured.message}`).toBe(outcome);
    },
  );
});

it('docs/security.md lists every way out with what it comes to, and no other', async () => {
  const text = await readFile(new URL('../../docs/security.md', import.meta.url), 'utf8');
  const rows = [
    ...text.matchAll(/^\| (.+?) +\| (refused|own rows|open) +\| (\S.*?) +\| (\S.*?) +\|$/gm),
  ];
  const listed = rows.map(([, name, ...outcomes]) => [name, ...outcomes].join(' | '));
  const tried = ways.map(({ name, outcomes }) =>
    [name, outcomes.L3, outcomes.L2, outcomes.L1].join(' | '),
  );
  expect(listed).toEqual(tried);
  expect(tried.length).toBeGreaterThanOrEqual(45);
});
