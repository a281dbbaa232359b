/**
 * What is reported when row-level security refuses a statement: the role, the SQLSTATE and a tag of the statement
 * that contains none of its values.
 */
import { createHash } from 'node:crypto';
import postgres from 'postgres';

export interface Refusal {
  /** SQLSTATE: PU001 without a valid context, 42501 for a row of another tenant. */
  readonly code: string;
  /** The database role that ran the statement. */
  readonly role: string;
  /** See queryTag. */
  readonly queryTag: string;
}

/** Server routines that report a policy violation; the message itself depends on lc_messages. */
const policyRoutines = new Set(['ExecWithCheckOptions', 'check_enable_rls']);

/** undefined for every other error. */
export function refusalOf(error: unknown, role: string): Refusal | undefined {
  if (!(error instanceof postgres.PostgresError)) return undefined;
  const { code, routine } = error;
  const refused = code === 'PU001' || (code === '42501' && policyRoutines.has(routine));
  if (!refused) return undefined;
  const text: unknown = Reflect.get(error, 'query');
  return { code, role, queryTag: queryTag(typeof text === 'string' ? text : '') };
}

const named = /^\s*(?:\/\*\s*([\w.:-]{1,60})\s*\*\/|--\s*([\w.:-]{1,60})\s*\n)/;
const verbs = new Set([
  'select',
  'insert',
  'update',
  'delete',
  'with',
  'merge',
  'copy',
  'call',
  'do',
]);
/** Strings, dollar-quoted strings and numbers. */
const literals = /'(?:[^']|'')*'|\$(\w*)\$[\s\S]*?\$\1\$|\b\d[\d.e]*/gi;

/**
 * The name in a comment at the start of the statement, such as `/* nightly-report *\/`; otherwise its verb and a
 * fingerprint of its text without literals, such as `select:9f86d081`. Equal statements have equal tags.
 */
export function queryTag(text: string): string {
  const [, inBlock, inLine] = named.exec(text) ?? [];
  const name = inBlock ?? inLine;
  if (name !== undefined) return name;
  const shape = text.replaceAll(literals, '?').replaceAll(/\s+/g, ' ').trim();
  const verb = /^\w+/.exec(shape)?.[0].toLowerCase() ?? '';
  const fingerprint = createHash('sha256').update(shape).digest('hex').slice(0, 8);
  return `${verbs.has(verb) ? verb : 'other'}:${fingerprint}`;
}
