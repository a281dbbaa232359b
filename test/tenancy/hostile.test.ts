/**
 * Attacks by a handler's SQL on each level of tenancy: the outcome of every known attack, and that docs/security.md
 * lists the same outcomes.
 */
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { borrowingAttacks } from './hostile/borrowing.ts';
import { contextAttacks } from './hostile/context.ts';
import { definitionAttacks } from './hostile/definitions.ts';
import { measure, setScene } from './hostile/hostile.ts';
import type { Scene, Attack } from './hostile/hostile.ts';
import { readingAttacks } from './hostile/reading.ts';
import { sessionAttacks } from './hostile/sessions.ts';
import { levels } from './level-database.ts';

const attacks: readonly Attack[] = [
  ...readingAttacks,
  ...contextAttacks,
  ...borrowingAttacks,
  ...definitionAttacks,
  ...sessionAttacks,
];

describe.each(levels)('hostile SQL at level %s', (level) => {
  let scene: Scene;
  beforeAll(async () => {
    scene = await setScene(level);
  });
  afterAll(() => scene.fixture.close());

  it.each(attacks.map((attack) => [attack.name, attack.outcomes[level], attack] as const))(
    '%s: %s',
    async (_name, outcome, attack) => {
      const measured = await measure(attack, scene);
      if (measured.damaged) {
        await scene.fixture.close();
        scene = await setScene(level);
      }
      expect(measured.outcome, `${measured.code} ${measured.message}`).toBe(outcome);
    },
  );
});

it('docs/security.md lists exactly these attacks with their outcomes', async () => {
  const text = await readFile(new URL('../../docs/security.md', import.meta.url), 'utf8');
  const rows = [
    ...text.matchAll(/^\| (.+?) +\| (refused|own rows|open) +\| (\S.*?) +\| (\S.*?) +\|$/gm),
  ];
  const listed = rows.map(([, name, ...outcomes]) => [name, ...outcomes].join(' | '));
  const tried = attacks.map(({ name, outcomes }) =>
    [name, outcomes.L3, outcomes.L2, outcomes.L1].join(' | '),
  );
  expect(listed).toEqual(tried);
  expect(tried.length).toBeGreaterThanOrEqual(45);
});
