/**
 * What an act of a form did, told by the page that the browser is led to. Its address has a word of a list, so that no
 * link can make the page say something else.
 */
import type { Context } from 'hono';
import type { WebEnv } from '../../web-env.ts';
import { Notice } from './notice.tsx';
import { address } from './pager.tsx';
import type { Fields } from './pager.tsx';

/** By the word: the sentence. */
export type Outcomes = Readonly<Record<string, string>>;

export function Outcome({
  of,
  done,
}: {
  readonly of: Outcomes;
  readonly done?: string | undefined;
}) {
  const text = done !== undefined && Object.hasOwn(of, done) ? of[done] : undefined;
  return text === undefined ? null : <Notice tone="good">{text}</Notice>;
}

/** Leads to a page of this host, which says what was done. */
export const leadTo = (
  c: Context<WebEnv>,
  path: string,
  fields: Fields & { readonly done: string },
): Response => c.redirect(address(path, fields), 303);
