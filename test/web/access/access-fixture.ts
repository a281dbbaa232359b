/** Operators of each role, and tokens of each, on a web role. */
import { randomBytes, scryptSync } from 'node:crypto';
import type { Operator } from '../../../src/operations/audit.ts';
import { addOperator } from '../../../src/operations/operators/operators.ts';
import { roles } from '../../../src/operations/operators/roles.ts';
import type { Role } from '../../../src/operations/operators/roles.ts';
import { addToken } from '../../../src/operations/operators/tokens.ts';
import type { NewToken } from '../../../src/operations/operators/tokens.ts';
import { Browser, hiddenFields } from '../browser.ts';
import type { Answer } from '../browser.ts';
import type { WebFixture } from '../web-fixture.ts';

export const by: Operator = { name: 'tester', proof: 'asserted', door: 'cli', host: 'test' };

export const password = 'a long enough password';

/** A hash of `password` that takes no time. */
export function quickHash(): string {
  const salt = randomBytes(16);
  const hash = scryptSync(password, salt, 32, { N: 16, r: 1, p: 1 });
  return `scrypt$16$1$1$${salt.toString('base64url')}$${hash.toString('base64url')}`;
}

/** Operators named as their roles, all with `password`. */
export async function addOperators({ database: { system } }: WebFixture): Promise<void> {
  const passwordHash = quickHash();
  for (const role of roles) {
    await system.begin((tx) => addOperator(tx, by, { name: `the ${role}`, role, passwordHash }));
  }
}

/** Logged in. */
export async function browserOf(fixture: WebFixture, role: Role): Promise<Browser> {
  const browser = new Browser(fixture.url);
  const answer = await browser.logIn(`the ${role}`, password);
  if (answer.status !== 303) throw new Error(`no login: ${answer.status} ${answer.text}`);
  return browser;
}

/** A browser of a viewer and one of an operator, both logged in. Adds the operators. */
export async function browsersOf(
  fixture: WebFixture,
): Promise<(role: 'viewer' | 'operator') => Browser> {
  await addOperators(fixture);
  const [viewer, operator] = [
    await browserOf(fixture, 'viewer'),
    await browserOf(fixture, 'operator'),
  ];
  return (role) => (role === 'viewer' ? viewer : operator);
}

/** Sends the form of a page that has this action. */
export async function sendForm(
  browser: Browser,
  page: string,
  action: string,
  fields: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const { text } = await browser.get(page);
  if (!text.includes(`action="${action}"`)) throw new Error(`${page} has no form ${action}`);
  return browser.post(action, { ...hiddenFields(text, action), ...fields });
}

export const makeToken = (
  { database: { system } }: WebFixture,
  token: Partial<NewToken> = {},
): Promise<string> =>
  system.begin((tx) =>
    addToken(tx, by, {
      name: `program ${crypto.randomUUID()}`,
      role: 'viewer',
      tenants: [],
      jobTypes: [],
      expiresAt: new Date(Date.now() + 3_600_000),
      ...token,
    }),
  );

export const bearer = (token: string): Record<string, string> => ({
  authorization: `Bearer ${token}`,
});

export const actsOf = async (fixture: WebFixture, act: string) =>
  fixture.database.system<
    { operator: string; proof: string; door: string; target: unknown; before: unknown }[]
  >`
    select operator, proof, door, target, before from operator_acts where act = ${act} order by id`;
