/** A command of fast-check: it runs on the database and on the model, and compares the two, then all that they hold. */
import { nat } from 'fast-check';
import type { AsyncCommand } from 'fast-check';
import { expect } from 'vitest';
import { PurserError } from '../../../src/errors.ts';
import { pictureOfDatabase, pictureOfModel } from './world.ts';
import type { Real, World } from './world.ts';

export type Command = AsyncCommand<World, Real>;

/** What the database answered, and what the model says that it should have. */
export interface Answers {
  readonly answer: unknown;
  readonly expected: unknown;
}

/** `run` has no answers where nothing is said but by what is held afterwards. */
export const command = (
  text: string,
  run: (world: World, real: Real) => Promise<Answers | undefined>,
  check: (world: World) => boolean = () => true,
): Command => ({
  check: (world) => check(world),
  run: async (world, real) => {
    compareAnswers(await run(world, real));
    await compare(world, real);
  },
  toString: () => text,
});

export function compareAnswers(answers: Answers | undefined): void {
  if (answers === undefined) return;
  const { answer, expected } = answers;
  if (typeof expected === 'object' && expected !== null) expect(answer).toMatchObject(expected);
  else expect(answer).toBe(expected);
}

export async function compare(world: World, { sql }: Real): Promise<void> {
  const ids = world.tenants.map(({ id }) => id);
  const database = await pictureOfDatabase(sql, ids);
  expect(database).toEqual(pictureOfModel(world));
  for (const counters of Object.values(database.accounts)) expect(counters).not.toMatch(/ -/);
}

/** The value, or the code of the refusal with its details. */
export async function answerOf<T>(
  call: Promise<T>,
): Promise<T | { code: string; details: object }> {
  try {
    return await call;
  } catch (error) {
    if (!(error instanceof PurserError)) throw error;
    return { code: error.code, details: error.details };
  }
}

export const tenantIndex = nat({ max: 1 });
export const units = nat({ max: 12 });
export const someReservation = nat({ max: 30 });
export const anyReservation = ({ money }: World): boolean => money.reservations.size > 0;

export function tenantAt({ tenants }: World, index: number) {
  const tenant = tenants[index % tenants.length];
  if (tenant === undefined) throw new Error('a world has tenants');
  return tenant;
}

/** One of the reservations so far, with its id in the database. */
export function reservationAt({ money }: World, { ids }: Real, index: number) {
  const all = [...money.reservations.values()];
  const found = all[index % all.length];
  const reservationId = found === undefined ? undefined : ids.get(found.key);
  if (found === undefined || reservationId === undefined) throw new Error('no such reservation');
  return { ...found, reservationId };
}
