/**
 * Sessions of the web role: random tokens in cookies, stored as hashes only. A session ends by logout, by an
 * administrator, with the role, the password or the row of its operator, after 8 hours without a request, and 24 hours
 * after its login.
 */
import { createHash, createHmac, randomBytes } from 'node:crypto';
import type { Queryable, Tx } from '../../db/connect.ts';
import { PurserError } from '../../errors.ts';
import { recordAct } from '../audit.ts';
import type { Operator, Reasoned } from '../audit.ts';
import type { Role } from './roles.ts';

const idleHours = 8;
const wholeHours = 24;
/** Of one operator: the oldest ends where another begins. */
const maxSessions = 20;
/** Expired ones removed by a login. */
const removedAtOnce = 1_000;

/** The login that the environment has. Its sessions are valid with its present name and password only. */
export interface EnvironmentLogin {
  readonly user: string;
  readonly password: string;
}

export interface OpenSession {
  readonly id: string;
  readonly operator: string;
  readonly ofEnvironment: boolean;
  readonly role: Role;
}

export interface ListedSession extends OpenSession {
  readonly address: string;
  readonly browser: string;
  readonly startedAt: Date;
  readonly seenAt: Date;
  readonly expiresAt: Date;
}

const plainHash = (token: string): Buffer => createHash('sha256').update(token).digest();
const environmentHash = (token: string, { user, password }: EnvironmentLogin): Buffer =>
  createHmac('sha256', password)
    .update(JSON.stringify([user, token]))
    .digest();

interface NewSession {
  readonly operator: string;
  /** The hash that the given password has; of the login of the environment that login. */
  readonly proof: { readonly passwordHash: string } | EnvironmentLogin;
  readonly address: string;
  readonly browser: string;
}

/**
 * Returns the token for the cookie; undefined when the operator's password was changed, or the operator removed, since it
 * was checked.
 */
export async function startSession(
  sql: Queryable,
  session: NewSession,
): Promise<string | undefined> {
  const { operator, proof } = session;
  const token = randomBytes(32).toString('base64url');
  const ofEnvironment = 'user' in proof;
  const hash = ofEnvironment ? environmentHash(token, proof) : plainHash(token);
  // The lock waits for a change of the password and then sees it.
  const started = await sql`
    with proved as (
      select from public.operators
      where not ${ofEnvironment} and name = ${operator}
        and password_hash = ${ofEnvironment ? '' : proof.passwordHash}
      for share
    ), old as (
      select id from (
        (select id from public.operator_sessions where expires_at <= clock_timestamp() limit ${removedAtOnce})
        union all
        (select id from public.operator_sessions where operator = ${operator} order by seen_at desc
          offset ${maxSessions - 1})) o
    ), removed as (
      delete from public.operator_sessions s using old where s.id = old.id
    )
    insert into public.operator_sessions (token_hash, operator, of_environment, address, browser, expires_at)
    select ${hash}, ${operator}, ${ofEnvironment}, ${session.address.slice(0, 100)},
      ${session.browser.slice(0, 200)}, clock_timestamp() + ${wholeHours} * interval '1 hour'
    where ${ofEnvironment} or exists (select from proved)
    returning id`;
  return started.length === 1 ? token : undefined;
}

/** The open session of a cookie's token, which is seen now. */
export async function findSession(
  sql: Queryable,
  token: string,
  login: EnvironmentLogin,
): Promise<OpenSession | undefined> {
  const [plain, ofLogin] = [plainHash(token), environmentHash(token, login)];
  const [found] = await sql<(OpenSession & { stale: boolean })[]>`
    select s.id, s.operator, s.of_environment as "ofEnvironment",
      case when s.of_environment then 'admin' else o.role end as role,
      s.seen_at < clock_timestamp() - interval '1 minute' as stale
    from public.operator_sessions s left join public.operators o on o.name = s.named_operator
    where s.token_hash in (${plain}, ${ofLogin}) and s.of_environment = (s.token_hash = ${ofLogin})
      and s.expires_at > clock_timestamp()
      and s.seen_at > clock_timestamp() - ${idleHours} * interval '1 hour'`;
  if (found === undefined) return undefined;
  const { stale, ...session } = found;
  if (stale) await markSeen(sql, session.id);
  return session;
}

async function markSeen(sql: Queryable, id: string): Promise<void> {
  await sql`update public.operator_sessions set seen_at = clock_timestamp() where id = ${id}`;
}

/** By its own operator, who logs out. */
export async function closeSession(sql: Queryable, id: string): Promise<void> {
  await sql`delete from public.operator_sessions where id = ${id}`;
}

/** Open ones, of one operator or of all; the one that was seen last first, at most `limit`. */
export async function listSessions(
  sql: Queryable,
  { operator, limit }: { readonly operator?: string | undefined; readonly limit: number },
): Promise<ListedSession[]> {
  return sql<ListedSession[]>`
    select s.id, s.operator, s.of_environment as "ofEnvironment",
      case when s.of_environment then 'admin' else o.role end as role,
      s.address, s.browser, s.started_at as "startedAt", s.seen_at as "seenAt",
      least(s.expires_at, s.seen_at + ${idleHours} * interval '1 hour') as "expiresAt"
    from public.operator_sessions s left join public.operators o on o.name = s.named_operator
    where s.expires_at > clock_timestamp() and s.seen_at > clock_timestamp() - ${idleHours} * interval '1 hour'
      and (${operator ?? null}::text is null or s.operator = ${operator ?? null})
    order by s.seen_at desc, s.id limit ${limit}`;
}

/** One session by its id, or all of an operator. Returns how many. Throws `unknown_session` for an id of none. */
export async function endSessions(
  tx: Tx,
  operator: Operator,
  which: ({ readonly id: string } | { readonly operator: string }) & Reasoned,
): Promise<number> {
  const [id, name] = 'id' in which ? [which.id, null] : [null, which.operator];
  const ended = await tx<{ operator: string }[]>`
    delete from public.operator_sessions
    where (${id}::text is null or id::text = ${id}) and (${name}::text is null or operator = ${name})
    returning operator`;
  const [first] = ended;
  if (first === undefined) {
    if (id === null) return 0;
    throw new PurserError(
      'unknown_session',
      'there is no session with this id; it may have ended; see: purser operators sessions',
      { status: 404 },
    );
  }
  await recordAct(tx, operator, {
    act: 'session_end',
    target: { name: first.operator, ...(id === null ? {} : { session: id }) },
    reason: which.reason,
    affected: ended.length,
  });
  return ended.length;
}
