/**
 * Secret fields of a JSON value: each is stored as `{"$secret": "<token>"}` and decrypted by its path. Paths are
 * SQL/JSON paths (`$."hook"."token"`, `$."list"[*]."key"`), which Postgres evaluates too.
 */
import type { EncryptionKeyManager } from '../keyring.ts';
import { secretWatch } from './watch.ts';

/** `."name"` of an object, `[*]` and `[2]` of a list, `.*` for every value of an object. */
export type SecretPath = string;

const stepPattern = /\."(?:[^"\\]|\\.)*"|\.\*|\[\*\]|\[\d+\]/g;

const sealedKey = '$secret';

/** The stored form of a secret value. */
export interface SealedField {
  readonly [sealedKey]: string;
}

/** A path step for an object key. */
export const nameStep = (name: string): string => `.${JSON.stringify(name)}`;

type Steps = readonly string[];

const stepsOf = (path: SecretPath): Steps => path.match(stepPattern) ?? [];

function covers(outer: Steps, inner: Steps): boolean {
  return outer.every((step, index) => {
    const of = inner[index] ?? '';
    if (step === of || (step === '.*' && of.startsWith('.'))) return true;
    return step === '[*]' && of.startsWith('[');
  });
}

/** Paths without those that are equal to or inside another one, whose encryption covers them. */
export function outermost(paths: readonly SecretPath[]): SecretPath[] {
  return paths.filter((path) =>
    paths.every((other) => other === path || !covers(stepsOf(other), stepsOf(path))),
  );
}

type Change = (value: unknown) => Promise<unknown>;

/**
 * A copy with `change` applied to every value that a path selects; once per value, even if several paths select it
 * (`.*` and a name), because key rotation would not find a token inside another one.
 */
async function changeAt(value: unknown, ways: readonly Steps[], change: Change): Promise<unknown> {
  if (ways.some((steps) => steps.length === 0)) {
    const changed = await change(value);
    if (changed !== value) return changed;
  }
  if (value === null || typeof value !== 'object') return value;
  const entries: [string, unknown][] = [];
  for (const [key, item] of Object.entries(value)) {
    const onward = ways.filter(([step]) => leadsTo(key, Array.isArray(value), step));
    const rest = onward.map((steps) => steps.slice(1));
    entries.push([key, rest.length === 0 ? item : await changeAt(item, rest, change)]);
  }
  return Array.isArray(value) ? entries.map(([, item]) => item) : Object.fromEntries(entries);
}

function leadsTo(key: string, ofList: boolean, step: string | undefined): boolean {
  if (step === undefined || ofList !== step.startsWith('[')) return false;
  if (step === '[*]' || step === '.*') return true;
  return key === (ofList ? step.slice(1, -1) : nameOf(step));
}

function nameOf(step: string): string {
  const name: unknown = JSON.parse(step.slice(1));
  return String(name);
}

function changeAll(
  payload: unknown,
  paths: readonly SecretPath[],
  change: Change,
): Promise<unknown> {
  return changeAt(
    payload,
    paths.map((path) => stepsOf(path)),
    change,
  );
}

/** The encryption context of payloads of a job type: a token of one type does not decrypt in another. */
const contextOf = (place: PayloadPlace) =>
  ({
    tenantId: place.tenantId,
    column: `job_payload.${place.jobType}`,
    purpose: 'generic',
  }) as const;

export interface PayloadPlace {
  readonly tenantId: string;
  readonly jobType: string;
}

function isSealed(value: unknown): value is SealedField {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return false;
  const [entry, ...others] = Object.entries(value);
  return entry?.[0] === sealedKey && typeof entry[1] === 'string' && others.length === 0;
}

/** Whether the payload has a value at a secret path. */
export async function hasSecrets(payload: unknown, paths: readonly SecretPath[]): Promise<boolean> {
  let found = false;
  await changeAll(payload, paths, (value) => {
    found ||= value !== undefined;
    return Promise.resolve(value);
  });
  return found;
}

/** The payload, plain JSON, with its secret fields encrypted. */
export async function sealFields(
  payload: object,
  paths: readonly SecretPath[],
  options: PayloadPlace & {
    readonly keyring: EncryptionKeyManager;
    readonly keyVersion: number;
  },
): Promise<object> {
  const sealed = await changeAll(payload, paths, async (value): Promise<SealedField> => {
    const { ciphertext } = await options.keyring.encryptString(
      JSON.stringify(value),
      contextOf(options),
      options.keyVersion,
    );
    return { [sealedKey]: ciphertext };
  });
  return sealed !== null && typeof sealed === 'object' ? sealed : {};
}

/**
 * The payload with its secret fields decrypted. A field that was stored in the clear before it was marked as secret
 * is used unchanged and treated as secret. Throws `decryption_failed`.
 */
export async function openFields(
  payload: unknown,
  paths: readonly SecretPath[],
  place: PayloadPlace,
  openKeys: () => EncryptionKeyManager,
): Promise<unknown> {
  return changeAll(payload, paths, async (value): Promise<unknown> => {
    if (!isSealed(value)) {
      secretWatch.getStore()?.opened(JSON.stringify(value));
      return value;
    }
    return JSON.parse(await openKeys().decryptString(value[sealedKey], contextOf(place)));
  });
}

const hidden = '[secret]';

/** For display: `[secret]` in place of every encrypted field. */
export function hideSealed(value: unknown): unknown {
  if (isSealed(value)) return hidden;
  if (value === null || typeof value !== 'object' || value instanceof Date) return value;
  if (Array.isArray(value)) return value.map(hideSealed);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, hideSealed(item)]));
}

/** The same, and in place of every value at these paths: one may be older than its mark, and stored in the clear. */
export async function hideSecrets(value: unknown, paths: readonly SecretPath[]): Promise<unknown> {
  return hideSealed(await changeAll(value, paths, () => Promise.resolve(hidden)));
}

/** A payload in which `[secret]` stands for the encrypted field that `stored` has in its place. */
export function restoreHidden(payload: object, stored: object): object {
  const before = new Map(Object.entries(stored));
  return Object.fromEntries(
    Object.entries(payload).map(([key, item]) => [key, restored(item, before.get(key))]),
  );
}

function restored(value: unknown, stored: unknown): unknown {
  if (value === hidden && isSealed(stored)) return stored;
  if (value === null || typeof value !== 'object') return value;
  const before = stored !== null && typeof stored === 'object' ? stored : {};
  if (!Array.isArray(value)) return restoreHidden(value, before);
  const items = new Map(Object.entries(before));
  return value.map((item: unknown, index) => restored(item, items.get(String(index))));
}
