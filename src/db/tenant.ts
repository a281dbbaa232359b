/**
 * The only way to tenant data: a transaction that carries a token, acts as the tenant role, and ends with
 * the commit fence or the attempt's completion, so that effects of an attempt that is no longer the running one
 * never commit.
 */
import { randomUUID } from 'node:crypto';
import postgres from 'postgres';
import { PurserError } from '../errors.ts';
import type { Sql, Tx } from './connect.ts';
import type { SessionPool } from './guard/session-pool.ts';
import { asOutage, databaseUnavailable, idleInTransactionMs } from './guard/outage.ts';
import { refuseNested, runInside } from './guard/nesting.ts';
import type { Entered } from './guard/nesting.ts';
import { runTransaction } from './guard/transaction.ts';
import type { Identity } from './guard/transaction.ts';
import { refusalOf } from './refusals.ts';
import type { Refusal } from './refusals.ts';

type Parameter = postgres.ParameterOrFragment<never>;

/** What a handler gets as `ctx.sql`: every statement, and every `begin`, is one fenced transaction. */
export interface TenantSql {
  <R extends object = Record<string, unknown>>(
    strings: TemplateStringsArray,
    ...values: readonly Parameter[]
  ): Promise<R[]>;
  /** Runs `fn` in one transaction; its effects commit only while the attempt is the running one. */
  begin<T>(fn: (tx: Tx) => Promise<T>, options?: BeginOptions): Promise<T>;
  /** A text with `$1` parameters. The text must not contain values. */
  unsafe<R extends object = Record<string, unknown>>(
    text: string,
    parameters?: readonly postgres.ParameterOrJSON<never>[],
  ): Promise<R[]>;
}

export interface BeginOptions {
  /**
   * The job is completed by the same commit, with what `fn` returns as its result: either all of it happened, once,
   * or nothing. The attempt has ended then; what the handler still does with it is refused (SQLSTATE PU001, PU002).
   */
  readonly complete?: boolean;
}

interface TransactionOptions extends BeginOptions {
  /** The transaction is one statement: no code of the handler runs inside of it. */
  readonly isStatement?: boolean;
}

export interface TenantPool {
  readonly sessions: SessionPool;
  /** SQL for the beginning of a transaction: session settings that a connection could not send. */
  readonly settings: string;
  /** Level L2: the login becomes the tenant role for the transaction. L3 and L1 need no switch. */
  readonly switchRole: boolean;
  /** Whether the server can notice a client that went away while a statement runs. */
  readonly checksConnection: boolean;
  /** A pooler uses the same server sessions for the fleet's own statements, which do not reset them first. */
  readonly sharesSessions?: boolean;
}

export interface TenantContext {
  readonly token: string;
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds since the epoch after which no statement may still run. */
  readonly deadlineMs?: number | undefined;
  /** Called for every refusal by row-level security, also when the handler catches the error. */
  readonly onRefused?: ((refusal: Refusal) => void) | undefined;
  /** Makes the result of a completing transaction fit for jsonb. Default: as JSON has it. */
  readonly storable?: ((result: unknown) => unknown) | undefined;
}

const noDeadlineStatementMs = 600_000;

/**
 * A connection's last borrower may have been another tenant: its settings (a time zone, a search_path), its
 * cursors, its temporary tables, which no policy guards, and its prepared statements, which could stand in for
 * those of this one, are not for this tenant.
 */
const forgetSession =
  'reset all; close all; deallocate all; discard sequences; discard temp; unlisten *; select pg_advisory_unlock_all()';
const mode = 'isolation level read committed read write';
/** In a transaction of its own: a ROLLBACK of the tenant's would bring back what was forgotten. */
const beginAnew = `begin; ${forgetSession}; commit; begin ${mode}`;

async function enter(
  sql: postgres.ReservedSql,
  pool: TenantPool,
  context: TenantContext,
): Promise<Identity> {
  const remainingMs =
    context.deadlineMs === undefined
      ? noDeadlineStatementMs
      : Math.max(1, Math.ceil(context.deadlineMs - Date.now()));
  const entering = sql<Identity[]>`
    select set_config('role', ${pool.switchRole ? 'purser_tenant' : 'none'}, true),
           set_config('purser.token', ${context.token}, true),
           set_config('idle_in_transaction_session_timeout', ${String(idleInTransactionMs)}, true),
           set_config('statement_timeout', ${String(remainingMs)}, true),
           ${pool.checksConnection ? sql`set_config('client_connection_check_interval', '1000', true),` : sql``}
           pg_current_xact_id()::text as xid, pg_backend_pid() as pid`;
  const begin = [beginAnew, pool.settings].join('; ');
  // In this order (a query of postgres.js is sent when it is waited for), without a wait in between.
  const [begun] = await Promise.allSettled([sql.unsafe(begin), entering]);
  if (begun.status === 'rejected') throw asUnreset(begun.reason);
  const [identity] = await entering;
  return identity ?? { xid: null, pid: 0 };
}

/** The reset fails with more temporary tables than locks, or a very short timeout; the session is then unusable. */
function asUnreset(error: unknown): unknown {
  return error instanceof postgres.PostgresError
    ? databaseUnavailable(`a session could not be reset (${error.code})`, error)
    : error;
}

/** Locks the attempt and refuses a stale token, as the last statement before COMMIT. */
async function fence(
  sql: postgres.ReservedSql,
  completion: string | null | undefined,
  { xid }: Identity,
): Promise<Identity | undefined> {
  const [row] =
    completion === undefined
      ? await sql<Identity[]>`
          select purser.commit_fence(), pg_catalog.pg_current_xact_id_if_assigned()::text as xid,
                 pg_catalog.pg_backend_pid() as pid`
      : await sql<Identity[]>`
          select purser.complete_attempt(${completion}::text::jsonb), ${xid}::text as xid,
                 pg_catalog.pg_backend_pid() as pid
          where pg_catalog.pg_current_xact_id_if_assigned()::text = ${xid}::text`;
  return row;
}

/**
 * Runs `fn` in one transaction of the token's tenant. Throws PU001 or PU002 (SQLSTATE) without a valid token,
 * `nested_transaction` inside a transaction of this token, and `nested_tenant` inside one of another token.
 */
export async function withTenant<T>(
  pool: TenantPool,
  context: TenantContext,
  fn: (tx: Tx) => Promise<T>,
  options: TransactionOptions = {},
): Promise<T> {
  const { signal, token, onRefused, storable = (result) => result } = context;
  signal?.throwIfAborted();
  checkFunction(fn);
  refuseNested(token);
  const begunAtMs = performance.now();
  let role = 'purser_tenant';
  let transaction: Entered | undefined;
  const told = new Set<unknown>();
  const tell = (error: unknown): void => {
    const refusal = told.has(error) ? undefined : refusalOf(error, role);
    told.add(error);
    if (refusal !== undefined) onRefused?.(refusal);
  };
  const borrower = { name: token, keepsSession: options.isStatement !== true };
  try {
    return await pool.sessions.use((session) => {
      // The attempt may have ended while its call waited.
      signal?.throwIfAborted();
      if (!pool.switchRole) role = session.login;
      return runTransaction(session, {
        enter: (sql) => enter(sql, pool, context),
        body: (tx) => {
          transaction = { token, tx, isOpen: true };
          return runInside(transaction, () => fn(tx));
        },
        fence: async (sql, value, identity) => {
          const complete = options.complete === true;
          const completion = complete ? (JSON.stringify(storable(value)) ?? null) : undefined;
          const fenced = await fence(sql, completion, identity);
          if (pool.sharesSessions === true) await sql.unsafe(forgetSession);
          return fenced;
        },
        onSavepointError: tell,
      });
    }, borrower);
  } catch (error) {
    tell(error);
    throw asOutage(error, performance.now() - begunAtMs);
  } finally {
    if (transaction !== undefined) transaction.isOpen = false;
  }
}

/** Callers in plain JavaScript have no type check, and the driver's own `begin` takes a mode first. */
function checkFunction(fn: unknown): void {
  if (typeof fn === 'function') return;
  throw new PurserError(
    'invalid_argument',
    `ctx.sql.begin: its first argument must be the function of the transaction, not ${fn === null ? 'null' : typeof fn}: ` +
      'ctx.sql.begin(async (tx) => { await tx`...` }); the isolation level cannot be chosen',
    { details: { class: 'fatal' } },
  );
}

const statement = { isStatement: true };

/** `ctx.sql` for one attempt, or for one command of an operator. */
export function tenantSql(pool: TenantPool, context: TenantContext): TenantSql {
  const query = <R extends object>(
    strings: TemplateStringsArray,
    ...values: readonly Parameter[]
  ): Promise<R[]> =>
    withTenant(pool, context, async (tx) => [...(await tx<R[]>(strings, ...values))], statement);
  return Object.assign(query, {
    begin: <T>(fn: (tx: Tx) => Promise<T>, options?: BeginOptions) =>
      withTenant(pool, context, fn, options),
    unsafe: <R extends object>(
      text: string,
      parameters: readonly postgres.ParameterOrJSON<never>[] = [],
    ) =>
      withTenant(
        pool,
        context,
        async (tx) => [...(await tx.unsafe<R[]>(text, [...parameters]))],
        statement,
      ),
  });
}

/**
 * A token for an operator's command: valid for `ttlMs`, for one tenant.
 * Throws `unknown_tenant` when there is no such tenant.
 */
export async function openOperatorToken(
  system: Sql,
  tenantId: string,
  ttlMs: number,
): Promise<string> {
  const token = randomUUID();
  const [opened] = await system`
    insert into purser.context_tokens (token, tenant_id, expires_at)
    select ${token}, id, now() + ${ttlMs} * interval '1 millisecond'
    from public.tenants where id = ${tenantId}
    returning token`;
  if (opened === undefined) {
    throw new PurserError(
      'unknown_tenant',
      `no tenant ${JSON.stringify(tenantId)}; add it first: purser tenants add ID --plan PLAN`,
    );
  }
  return token;
}

/** Deletes an operator's token. */
export async function closeOperatorToken(system: Sql, token: string): Promise<void> {
  await system`delete from purser.context_tokens where token = ${token} and job_id is null`;
}
