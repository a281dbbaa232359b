/**
 * The only way to tenant data: a transaction that carries a token, acts as the tenant role, and ends with
 * the commit fence or the attempt's completion, so that effects of an attempt that is no longer the running one
 * never commit.
 */
import { randomUUID } from 'node:crypto';
import type postgres from 'postgres';
import { PurserError } from '../errors.ts';
import { unknownName } from '../names.ts';
import type { Sql, Tx } from './connect.ts';
import type { SessionPool } from './guard/session-pool.ts';
import { brokenLock } from './locks/broken.ts';
import { checkFunction, isCompleting } from './guard/arguments.ts';
import { enter, fence, forgetSession } from './guard/boundaries.ts';
import type { Entry } from './guard/boundaries.ts';
import { asOutage, isLostSession } from './guard/outage.ts';
import { refuseNested, runInside } from './guard/nesting.ts';
import type { Entered } from './guard/nesting.ts';
import { runTransaction } from './guard/transaction.ts';
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
  /** It asks why another one was lost. */
  readonly isQuestion?: boolean;
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
  /** Once it is aborted, no transaction begins. */
  readonly signal?: Pick<AbortSignal, 'throwIfAborted'> | undefined;
  /** Milliseconds since the epoch after which no statement may still run. */
  readonly deadlineMs?: number | undefined;
  /** Called for every refusal by row-level security, also when the handler catches the error. */
  readonly onRefused?: ((refusal: Refusal) => void) | undefined;
  /** Makes the result of a completing transaction fit for jsonb. Default: as JSON has it. */
  readonly storable?: ((result: unknown) => unknown) | undefined;
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
  refuseNested(token);
  const begunAtMs = performance.now();
  let role = 'purser_tenant';
  let transaction: Entered | undefined;
  let entry: Entry | undefined;
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
        enter: async (sql) => (entry = await enter(sql, pool, context)),
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
    const lostAfterMs = performance.now() - begunAtMs;
    const lost = options.isQuestion !== true && isLostSession(error) ? entry : undefined;
    const broken = lost === undefined ? undefined : await whyEnded(pool, token, lost);
    throw broken ?? asOutage(error, lostAfterMs);
  } finally {
    if (transaction !== undefined) transaction.isOpen = false;
  }
}

/** Whether the sweep ended the transaction for a lock that it held. */
const whyEnded = (pool: TenantPool, token: string, { pid, since }: Entry) =>
  brokenLock(async () => {
    const [row] = await withTenant(
      pool,
      { token },
      (tx) => tx<{ lock: string | null }[]>`
        select purser.broken_lock(${pid}::integer, ${since}::numeric) as lock`,
      { isStatement: true, isQuestion: true },
    );
    return row?.lock;
  });

const statement = { isStatement: true };

/** `ctx.sql` for one attempt, or for one command of an operator. */
export function tenantSql(pool: TenantPool, context: TenantContext): TenantSql {
  const query = <R extends object>(
    strings: TemplateStringsArray,
    ...values: readonly Parameter[]
  ): Promise<R[]> =>
    withTenant(pool, context, async (tx) => [...(await tx<R[]>(strings, ...values))], statement);
  return Object.assign(query, {
    begin: async <T>(fn: (tx: Tx) => Promise<T>, options?: BeginOptions) => {
      checkFunction(fn);
      return withTenant(pool, context, fn, { complete: isCompleting(options) });
    },
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
    insert into purser.operator_tokens (token, tenant_id, expires_at)
    select ${token}, id, now() + ${ttlMs} * interval '1 millisecond'
    from public.tenants where id = ${tenantId}
    returning token`;
  if (opened === undefined) {
    throw new PurserError(
      'unknown_tenant',
      `${unknownName('tenant', tenantId)}; add it first: purser tenants add ID --plan PLAN`,
    );
  }
  return token;
}

/** Deletes an operator's token. */
export async function closeOperatorToken(system: Sql, token: string): Promise<void> {
  await system`delete from purser.operator_tokens where token = ${token}`;
}
