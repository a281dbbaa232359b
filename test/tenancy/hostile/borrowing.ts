/** Ways to what the connection's last or next borrower has. Outcomes: L3, L2, L1. */
import { deed } from './hostile.ts';
import type { Scene } from './hostile.ts';

function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/** A COMMIT gives the connection back, while the transaction's code still runs. */
async function stay(s: Scene, end: string): Promise<unknown> {
  const ended = gate();
  const inside = gate();
  const over = gate();
  const attack = s.sql.begin(async (tx) => {
    await tx.unsafe(end);
    ended.open();
    await inside.opened;
    return tx.unsafe(`select * from aws_accounts; select current_setting('purser.token')`);
  });
  attack.catch(ended.open);
  await ended.opened;
  const next = s.victim
    .begin(async (tx) => {
      await tx`select 1`;
      inside.open();
      await over.opened;
    })
    .catch(() => {})
    .finally(inside.open);
  try {
    return await attack;
  } finally {
    over.open();
    await next;
  }
}

/** What the last borrower left is thrown away, and thrown away it stays. */
async function bringBack(s: Scene, left: string, what: string): Promise<unknown> {
  await s.victim.unsafe(left);
  return s.sql.begin(async (tx) => s.seen.push(await tx.unsafe(what)));
}

export const borrowingWays = [
  deed(
    'COMMIT, then on in the next transaction of the connection',
    'refused, refused, refused',
    (s) => stay(s, 'commit'),
  ),
  deed(
    'ROLLBACK, then on in the next transaction of the connection',
    'refused, refused, refused',
    (s) => stay(s, 'rollback'),
  ),
  deed(
    "the last borrower's temporary table, brought back by ROLLBACK",
    'refused, refused, refused',
    (s) =>
      bringBack(
        s,
        `create temp table staging as select credentials from aws_accounts`,
        `rollback; do $$ begin
          if to_regclass('pg_temp.staging') is not null then
            perform set_config('my.note', string_agg(credentials, ','), false) from pg_temp.staging;
          end if; end $$; select current_setting('my.note', true)`,
      ),
  ),
  deed("the last borrower's settings, brought back by ROLLBACK", 'refused, refused, refused', (s) =>
    bringBack(
      s,
      `select set_config('my.note', credentials, false) from aws_accounts`,
      `rollback; select current_setting('my.note', true)`,
    ),
  ),
];
