/** The options that make a filter of jobs, and the note that says how many of all a list shows. */
import type { Sql } from '../../db/connect.ts';
import { PurserError, UsageError } from '../../errors.ts';
import type { JobFilter } from '../../jobs/search/filter.ts';
import { maxCounted } from '../../jobs/search/list.ts';
import { unknownName } from '../../names.ts';
import type { Invocation, OptionSpec } from '../terminal/command.ts';
import { cutText, sinceOf, sinceOption } from '../terminal/cut-list.ts';
import { wholeNumber } from '../terminal/parse.ts';
import { jobFilter, jobFilterOptions } from './job-filter.ts';

export const searchOptions = {
  ...jobFilterOptions,
  code: { value: 'CODE', help: 'only with this error code, e.g. http_403' },
  fingerprint: { value: 'F', help: 'only with this fingerprint, from: purser dlq groups' },
  text: {
    value: 'WORDS',
    help: 'only with these words, or beginnings of words, in code or message',
  },
  since: sinceOption,
  until: { value: 'TIME', help: 'only before this time; the same forms' },
  attempt: { value: 'N', help: 'only with so many attempts' },
  plan: { value: 'PLAN', help: 'only of tenants with this plan' },
  group: { value: 'GROUP', help: 'only jobs of this group' },
} satisfies Record<string, OptionSpec>;

const maxWordsLength = 1_000;

/** Throws a usage error, `unknown_tenant`, `unknown_job_type` or `unknown_plan`. */
export async function searchOf(invocation: Invocation, sql: Sql): Promise<JobFilter> {
  const { value } = invocation;
  const attempt = wholeNumber(invocation, 'attempt', -1, { min: 0, max: 1_000_000 });
  const filter = {
    code: value('code'),
    fingerprint: fingerprintOf(value('fingerprint')),
    text: textOf(value('text')),
    since: sinceOf(invocation),
    until: sinceOf(invocation, new Date(), 'until'),
    attempt: attempt === -1 ? undefined : attempt,
    group: value('group'),
  };
  return {
    ...(await jobFilter(invocation, sql)),
    ...filter,
    plan: await planOf(sql, value('plan')),
  };
}

function fingerprintOf(text: string | undefined): string | undefined {
  if (text === undefined || /^\d{1,4}-[0-9a-f]{16}$/.test(text)) return text;
  throw new UsageError(
    `--fingerprint is a number, - and 16 hexadecimal digits, as purser dlq groups shows it, not ${JSON.stringify(text.slice(0, 60))}`,
  );
}

function textOf(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const hasWord = /[^\s!-/:-@[-`{-~]/.test(text);
  if (hasWord && text.length <= maxWordsLength && !text.includes('\0') && text.isWellFormed()) {
    return text;
  }
  throw new UsageError(`--text needs a word to look for, and at most ${maxWordsLength} characters`);
}

async function planOf(sql: Sql, plan: string | undefined): Promise<string | undefined> {
  if (plan === undefined) return undefined;
  const found = await sql`select from public.plans where plan = ${plan}`;
  if (found.length === 0)
    throw new PurserError('unknown_plan', unknownName('plan', plan), { status: 404 });
  return plan;
}

/** `404`, or `10,000+` of a count that ended there. */
export const countText = (count: number): string =>
  count > maxCounted ? `${maxCounted.toLocaleString('en-US')}+` : String(count);

/** Notes `50 of 404 jobs; more with --limit` where the list was cut. */
export function notePart(invocation: Invocation, shown: number, count: number, what: string): void {
  const text = cutText(shown, count, what, countText(count));
  if (text !== undefined) invocation.note(text);
}
