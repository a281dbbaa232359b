/** Recognisable secrets, and the search for them in pages and tables. */
import { randomBytes, randomUUID } from 'node:crypto';
import type { Sql } from '../../src/db/connect.ts';

export const canary = (name: string): string => `canary-${name}-${randomUUID()}`;
/** 32 bytes in base64, like a salt. */
export const saltCanary = (): string => randomBytes(32).toString('base64');

/** Excerpts of the texts that contain a secret, plain, in base64 or URL-encoded. */
export function leaksIn(texts: readonly string[], secrets: readonly string[]): string[] {
  const forms = secrets.flatMap((secret) => [
    secret,
    Buffer.from(secret).toString('base64').replace(/=+$/, ''),
    encodeURIComponent(secret),
  ]);
  return texts.flatMap((text) =>
    forms
      .filter((form) => text.includes(form))
      .map((form) => text.slice(Math.max(0, text.indexOf(form) - 200)).slice(0, 260)),
  );
}

/** Every row of every table: Purser's, those of the private schema, and those of the queues. */
export async function everyRow(sql: Sql): Promise<string[]> {
  const tables = await sql<{ name: string }[]>`
    select format('%I.%I', schemaname, tablename) as name from pg_tables
    where schemaname in ('public', 'purser', 'bullmq')`;
  const texts: string[] = [];
  for (const { name } of tables) {
    const rows = await sql.unsafe<{ text: string }[]>(
      `select coalesce(string_agg(t::text, E'\\n'), '') as text from ${name} t`,
    );
    texts.push(...rows.map(({ text }) => text));
  }
  return texts;
}

/** The pages at these paths with the right and with a wrong password, headers included. */
export async function everyPage(
  port: string,
  login: string,
  paths: readonly string[],
): Promise<string[]> {
  const pages: string[] = [];
  for (const path of paths) {
    for (const who of [login, 'operator:wrong']) {
      const authorization = `Basic ${Buffer.from(who).toString('base64')}`;
      const response = await fetch(`http://127.0.0.1:${port}${path}`, {
        headers: { authorization },
      });
      pages.push(JSON.stringify([...response.headers]), await response.text());
    }
  }
  return pages;
}
