/**
 * One rule for each name that users choose. A name is checked where it is made; where it is looked up, a name that is
 * not there is refused with the fault that it has. `purser.name_fault` (sql/0012_names.sql) is the same rule for SQL,
 * in the same words.
 */
import { isChangedBySpreadsheet } from './spreadsheet-ids.ts';

interface NameRule {
  readonly what: string;
  /** In Unicode code points, as Postgres counts. Default 200. */
  readonly maxLength?: number;
  /** The whole rule, where a name is not any visible text. */
  readonly pattern?: RegExp;
  /** Completes `use ...`; goes with `pattern`. */
  readonly allowed?: string;
}

const defaultMaxLength = 200;

const nameRules = {
  tenant: { what: 'tenant id' },
  job_type: {
    what: 'job type',
    pattern: /^[a-z][a-z0-9_]{0,62}$/,
    allowed: 'lower-case letters, digits and _, at most 63 and a letter first, e.g. send_report',
  },
  cohort: {
    what: 'cohort',
    pattern: /^(high_value|active|dormant)$/,
    allowed: 'high_value, active or dormant',
  },
  plan: { what: 'plan' },
  operator: { what: 'operator name', maxLength: 500 },
  account_id: { what: 'account id' },
  account_name: { what: 'account name' },
  integration: { what: 'integration name' },
  source: { what: 'source' },
  model: { what: 'model name' },
  group: { what: 'group' },
} as const satisfies Readonly<Record<string, NameRule>>;

export type NameKind = keyof typeof nameRules;

/** Every place where a name is made: `file function`, variable of the environment, or column. A test calls each. */
export const nameDoors: Readonly<Record<string, NameKind>> = {
  'cli/commands/tenants.ts add': 'tenant',
  'cli/runtime/ensure-tenant.ts ensureTenant': 'tenant',
  'handlers/define.ts defineHandler': 'job_type',
  'schedules/define.ts defineSchedule': 'job_type',
  'cli/commands/handlers.ts create': 'job_type',
  'cli/terminal/operator-options.ts byName': 'operator',
  'cli/commands/accounts.ts nameOf': 'account_name',
  'cli/commands/prices/scope.ts modelOf': 'model',
  'costs/uploads/uploads.ts checkSource': 'source',
  'jobs/request.ts checkRequest': 'group',
  'llm/check-call.ts checkModel': 'model',
  DASHBOARD_USER: 'operator',
  LLM_MODEL: 'model',
  'public.tenants.id': 'tenant',
  'public.plans.plan': 'plan',
  'public.job_types.job_type': 'job_type',
  'public.schedules.cohort': 'cohort',
  'public.schedules.paused_by': 'operator',
  'public.tenant_schedules.paused_by': 'operator',
  'public.pauses.by': 'operator',
  'public.operator_acts.operator': 'operator',
  'purser.batches.by': 'operator',
  'public.job_limits.by': 'operator',
  'jobs/limits/job-limits.ts checkGroupName': 'group',
  'public.aws_accounts.account_id': 'account_id',
  'public.aws_accounts.name': 'account_name',
  'public.api_integrations.kind': 'integration',
  'public.api_integrations.name': 'integration',
  'public.ingest_uploads.source': 'source',
  'public.llm_price_versions.model': 'model',
  'public.llm_price_versions.by': 'operator',
  'public.llm_provider_keys.set_by': 'operator',
  'cli/commands/access/new-name.ts newName': 'operator',
  'public.operators.name': 'operator',
  'public.api_tokens.name': 'operator',
};

const control = '\\u{0}-\\u{1f}\\u{7f}-\\u{9f}';
/** Default_Ignorable_Code_Point of Unicode, line and paragraph separators, annotations, the empty Braille pattern. */
const invisible =
  '\\u{ad}\\u{34f}\\u{61c}\\u{115f}\\u{1160}\\u{17b4}\\u{17b5}\\u{180b}-\\u{180f}\\u{200b}-\\u{200f}\\u{2028}-\\u{202e}' +
  '\\u{2060}-\\u{206f}\\u{2800}\\u{3164}\\u{fe00}-\\u{fe0f}\\u{feff}\\u{ffa0}\\u{fff0}-\\u{fffb}\\u{1bca0}-\\u{1bca3}' +
  '\\u{1d173}-\\u{1d17a}\\u{e0000}-\\u{e0fff}';
/** Other than the space and the ideographic space of CJK texts. */
const blanks = '\\u{a0}\\u{1680}\\u{2000}-\\u{200a}\\u{202f}\\u{205f}';

const hasControl = new RegExp(`[${control}]`, 'u');
const hasInvisible = new RegExp(`[${invisible}]`, 'u');
const hasOtherBlank = new RegExp(`[${blanks}]`, 'u');
const blankEnd = /^[ \u3000]|[ \u3000]$/;
const unseen = new RegExp(`[${control}${invisible}${blanks}\\u{fffd}]`, 'gu');
const shownLength = 60;

/** The name in quotes, its first characters only, with an escape for each that cannot be seen. */
export function quotedName(name: string): string {
  // A code point has two units at most.
  const points = Array.from(name.slice(0, 2 * shownLength)).slice(0, shownLength);
  return JSON.stringify(points.join('')).replace(
    unseen,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );
}

function faultOfText(name: string, maxLength: number): string | undefined {
  if (name === '') return 'is empty';
  const length = name.length > 2 * maxLength ? name.length : Array.from(name).length;
  if (length > maxLength) return `is longer than ${maxLength} characters`;
  if (!name.isWellFormed()) return 'has half of a surrogate pair';
  if (name.includes('\ufffd')) return 'has U+FFFD, which stands for bytes that were not UTF-8';
  if (hasControl.test(name)) return 'has a control character';
  if (hasInvisible.test(name)) return 'has an invisible character';
  if (hasOtherBlank.test(name)) return 'has a blank that is not the ordinary space';
  if (blankEnd.test(name)) return 'has a blank at an end';
  if (name.normalize('NFC') !== name) return 'is not in Unicode form NFC';
  return undefined;
}

const article = (what: string): string => (/^[aeiou]/.test(what) ? 'an' : 'a');

/** What is wrong with a name, as a sentence that quotes it and says what is allowed; undefined when nothing is. */
export function nameFault(kind: NameKind, name: unknown): string | undefined {
  const { what, maxLength = defaultMaxLength, pattern, allowed }: NameRule = nameRules[kind];
  if (typeof name !== 'string') return `the ${what} must be a string, not ${typeof name}`;
  const shown = `the ${what} ${quotedName(name)}`;
  if (pattern !== undefined) {
    return pattern.test(name) ? undefined : `${shown} is not allowed: use ${String(allowed)}`;
  }
  const fault = faultOfText(name, maxLength);
  if (fault !== undefined) {
    return (
      `${shown} ${fault}: ${article(what)} ${what} has 1 to ${maxLength} visible characters in Unicode form NFC, ` +
      'and no blank at its ends'
    );
  }
  if (kind === 'tenant' && isChangedBySpreadsheet(name)) {
    return (
      `${shown} is an id that a spreadsheet has changed; use the file as it was downloaded, or format the column as ` +
      'text before it is opened'
    );
  }
  return undefined;
}

/**
 * What is wrong with the group that a job names: a name that ends in `:*` is that of a limit. `purser.group_fault` says
 * the same for SQL.
 */
export function groupFault(group: unknown): string | undefined {
  const fault = nameFault('group', group);
  if (fault !== undefined || typeof group !== 'string' || !group.endsWith(':*')) return fault;
  return (
    `the group ${quotedName(group)} is not allowed: a limit for all groups of a kind is named so; name one group, ` +
    'e.g. user:42'
  );
}

/** Text of the error about a name that is not there, with the fault that the name has. */
export function unknownName(kind: NameKind, name: string): string {
  const { what }: NameRule = nameRules[kind];
  const fault = nameFault(kind, name);
  const thing = what.replace(/ id$/, '');
  return `there is no ${thing} ${quotedName(name)}${fault === undefined ? '' : ` (${fault})`}`;
}

/** Whether Postgres can be asked for the text. */
export const isStorable = (text: string): boolean => !text.includes('\0') && text.isWellFormed();

/** What is wrong with options of a call: the name of one that would be ignored, such as one that is misspelt. */
export function optionFault(
  what: string,
  given: object,
  allowed: readonly string[],
): string | undefined {
  const unknown = Object.keys(given).find((name) => !allowed.includes(name));
  return unknown === undefined
    ? undefined
    : `${what} has no option ${JSON.stringify(unknown.slice(0, 100))}; it has ${allowed.join(', ')}`;
}
