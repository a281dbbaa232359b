/** The commands about who may use the web role, among those that are walked. */
import type { Sql } from '../../../src/db/connect.ts';
import type { ForOperator, WalkedCommand } from './walked-commands.ts';

const named = ({ tenantId }: Pick<ForOperator, 'tenantId'>, what: string): string =>
  `${tenantId} ${what}`;

/** Operators and a token that the commands change. */
export async function arrangeAccess(sql: Sql, tenantId: string): Promise<void> {
  for (const what of ['promoted', 'renewed', 'removed', 'ended']) {
    await sql`
      insert into operators (name, role, password_hash)
      values (${named({ tenantId }, what)}, 'viewer', 'scrypt$')`;
  }
  await sql`
    insert into api_tokens (name, role, token_hash, expires_at)
    values (${named({ tenantId }, 'removed')}, 'viewer', sha256(${tenantId}::bytea), now() + interval '1 day')`;
  await sql`
    insert into operator_sessions (token_hash, operator, of_environment, address, browser, expires_at)
    values (sha256(${tenantId}::bytea), ${named({ tenantId }, 'ended')}, false, '', '', now() + interval '1 day')`;
}

export const accessCommands: readonly WalkedCommand[] = [
  {
    path: 'operators add',
    covers: ['operations/operators/operators.ts addOperator'],
    args: (tenant) => [named(tenant, 'added'), '--role', 'viewer'],
  },
  { path: 'operators list', reads: true },
  {
    path: 'operators set-role',
    covers: [
      'operations/operators/operators.ts endSessionsOf',
      'operations/operators/operators.ts setRole',
    ],
    args: (tenant) => [named(tenant, 'promoted'), 'admin'],
  },
  {
    path: 'operators set-password',
    covers: ['operations/operators/operators.ts setPassword'],
    args: (tenant) => [named(tenant, 'renewed')],
  },
  {
    path: 'operators remove',
    covers: ['operations/operators/operators.ts removeOperator'],
    args: (tenant) => [named(tenant, 'removed')],
  },
  { path: 'operators sessions', reads: true },
  {
    path: 'operators end',
    covers: ['operations/operators/sessions.ts endSessions'],
    args: (tenant) => ['--operator', named(tenant, 'ended')],
  },
  {
    path: 'tokens add',
    covers: ['operations/operators/tokens.ts addToken'],
    args: (tenant) => [
      named(tenant, 'added'),
      '--role=viewer',
      '--expires=1d',
      `--tenant=${tenant.tenantId}`,
    ],
  },
  { path: 'tokens list', reads: true },
  {
    path: 'tokens remove',
    covers: ['operations/operators/tokens.ts removeToken'],
    args: (tenant) => [named(tenant, 'removed')],
  },
];
