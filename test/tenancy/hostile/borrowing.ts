/** Attacks on the previous or the next transaction of the same connection. Outcomes: L3, L2, L1. */
import { attack } from './hostile.ts';
import type { Scene } from './hostile.ts';

function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/** An early COMMIT or ROLLBACK, after which the handler waits for the next transaction and runs a statement. */
async function continueAfter(s: Scene, end: string): Promise<unknown> {
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

/** State that the previous transaction left is discarded; a ROLLBACK must not restore it. */
async function restoreByRollback(s: Scene, left: string, what: string): Promise<unknown> {
  await s.victim.unsafe(left);
  return s.sql.begin(async (tx) => s.seen.push(await tx.unsafe(what)));
}

export const borrowingAttacks = [
  attack(
    'COMMIT, then a statement in the next transaction of the connection',
    'refused, refused, refused',
    (s) => continueAfter(s, 'commit'),
  ),
  attack(
    'ROLLBACK, then a statement in the next transaction of the connection',
    'refused, refused, refused',
    (s) => continueAfter(s, 'rollback'),
  ),
  attack(
    'temporary table of the previous transaction, restored by ROLLBACK',
    'refused, refused, refused',
    (s) =>
      restoreByRollback(
        s,
        `create temp table staging as select credentials from aws_accounts`,
        `rollback; do $$ begin
          if to_regclass('pg_temp.staging') is not null then
            perform set_config('my.note', string_agg(credentials, ','), false) from pg_temp.staging;
          end if; end $$; select current_setting('my.note', true)`,
      ),
  ),
  attack(
    'settings of the previous transaction, restored by ROLLBACK',
    'refused, refused, refused',
    (s) =>
      restoreByRollback(
        s,
        `select set_config('my.note', credentials, false) from aws_accounts`,
        `rollback; select current_setting('my.note', true)`,
      ),
  ),
];
