/** The context of every route of the web role: the Node request, and who asks. */
import type { HttpBindings } from '@hono/node-server';
import type { Operator } from '../operations/audit.ts';
import type { Role } from '../operations/operators/roles.ts';
import type { TokenLimits } from '../operations/operators/tokens.ts';

/** Who asks, and what they may. */
export interface Access {
  /** As acts record it. */
  readonly operator: Operator;
  readonly role: Role;
  /** Of a token that is limited to tenants or job types. */
  readonly limits?: TokenLimits | undefined;
  /** What forms of pages carry; undefined where no browser asks (a bearer token). */
  readonly csrf?: string | undefined;
  readonly sessionId?: string | undefined;
}

export interface WebEnv {
  /** Empty when the app is called without a server. */
  Bindings: Partial<HttpBindings>;
  /** Set on routes behind the login. */
  Variables: { access: Access };
}
