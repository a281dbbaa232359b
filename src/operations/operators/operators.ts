/**
 * The named operators of the web role. Each change is one act in its caller's transaction; a change of the role or of the
 * password, like the removal, ends the operator's sessions.
 */
import type { Queryable, Tx } from '../../db/connect.ts';
import { PurserError } from '../../errors.ts';
import { recordAct } from '../audit.ts';
import type { Operator, Reasoned } from '../audit.ts';
import type { Role } from './roles.ts';

export interface NamedOperator {
  readonly name: string;
  readonly role: Role;
  readonly createdAt: Date;
  readonly openSessions: number;
  /** Of the newest open session. */
  readonly seenAt: Date | null;
}

export interface StoredOperator {
  readonly role: Role;
  readonly passwordHash: string;
}

/** By name. */
export async function listOperators(sql: Queryable): Promise<NamedOperator[]> {
  return sql<NamedOperator[]>`
    select o.name, o.role, o.created_at as "createdAt", coalesce(s.count, 0) as "openSessions", s.seen_at as "seenAt"
    from public.operators o
    left join lateral (
      select count(*)::int, max(s.seen_at) as seen_at from public.operator_sessions s
      where s.named_operator = o.name and s.expires_at > clock_timestamp()) s on true
    order by o.name`;
}

export async function findOperator(
  sql: Queryable,
  name: string,
): Promise<StoredOperator | undefined> {
  const [found] = await sql<StoredOperator[]>`
    select role, password_hash as "passwordHash" from public.operators where name = ${name}`;
  return found;
}

/** Throws `operator_exists`. `passwordHash` is that of `hashPassword`. */
export async function addOperator(
  tx: Tx,
  operator: Operator,
  added: { readonly name: string } & StoredOperator & Reasoned,
): Promise<void> {
  const { name, role, passwordHash, reason } = added;
  const rows = await tx`
    insert into public.operators (name, role, password_hash) values (${name}, ${role}, ${passwordHash})
    on conflict (name) do nothing returning name`;
  if (rows.length === 0) {
    throw new PurserError(
      'operator_exists',
      `there is an operator ${JSON.stringify(name)} already; see: purser operators list`,
    );
  }
  await recordAct(tx, operator, { act: 'operator_add', target: { name }, reason, after: { role } });
}

/** Returns the number of sessions that it ended. Throws `unknown_operator`. */
export async function setRole(
  tx: Tx,
  operator: Operator,
  { name, role, reason }: { readonly name: string; readonly role: Role } & Reasoned,
): Promise<number> {
  const [before] = await tx<{ role: Role }[]>`
    select role from public.operators where name = ${name} for no key update`;
  if (before === undefined) throw unknownOperator(name);
  if (before.role === role) return 0;
  await tx`
    update public.operators set role = ${role}, changed_at = clock_timestamp() where name = ${name}`;
  const ended = await endSessionsOf(tx, name);
  await recordAct(tx, operator, {
    act: 'operator_set_role',
    target: { name, endedSessions: ended },
    reason,
    before: { role: before.role },
    after: { role },
  });
  return ended;
}

/** Returns the number of sessions that it ended. Throws `unknown_operator`. */
export async function setPassword(
  tx: Tx,
  operator: Operator,
  {
    name,
    passwordHash,
    reason,
  }: { readonly name: string; readonly passwordHash: string } & Reasoned,
): Promise<number> {
  const changed = await tx`
    update public.operators set password_hash = ${passwordHash}, changed_at = clock_timestamp()
    where name = ${name} returning name`;
  if (changed.length === 0) throw unknownOperator(name);
  const ended = await endSessionsOf(tx, name);
  await recordAct(tx, operator, {
    act: 'operator_set_password',
    target: { name, endedSessions: ended },
    reason,
  });
  return ended;
}

/** Returns the number of sessions that it ended. Throws `unknown_operator`. */
export async function removeOperator(
  tx: Tx,
  operator: Operator,
  { name, reason }: { readonly name: string } & Reasoned,
): Promise<number> {
  const ended = await endSessionsOf(tx, name);
  const [removed] = await tx<{ role: Role }[]>`
    delete from public.operators where name = ${name} returning role`;
  if (removed === undefined) throw unknownOperator(name);
  await recordAct(tx, operator, {
    act: 'operator_remove',
    target: { name, endedSessions: ended },
    reason,
    before: { role: removed.role },
  });
  return ended;
}

async function endSessionsOf(tx: Tx, name: string): Promise<number> {
  const ended = await tx`delete from public.operator_sessions where named_operator = ${name}`;
  return ended.count;
}

const unknownOperator = (name: string): PurserError =>
  new PurserError(
    'unknown_operator',
    `there is no operator ${JSON.stringify(name)}; see: purser operators list`,
    { status: 404 },
  );
