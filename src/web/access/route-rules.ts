/**
 * The role that each route asks for. The application is not made while one of its routes has no rule, so that a route
 * that somebody forgot is no open one.
 */
import type { Hono, MiddlewareHandler } from 'hono';
import { createMiddleware } from 'hono/factory';
import { inspectRoutes } from 'hono/dev';
import { PurserError } from '../../errors.ts';
import { hasRole, roles } from '../../operations/operators/roles.ts';
import type { Role } from '../../operations/operators/roles.ts';
import type { WebEnv } from '../web-env.ts';

/** `public`: also without a login. */
export type RouteRule = Role | 'public';

export interface RuledRoute {
  readonly method: string;
  readonly path: string;
  readonly rule: RouteRule;
}

const rules = new WeakMap<object, RouteRule>();

/** Answers everybody. Routes with this rule stand before the login. */
export const forEverybody = (): MiddlewareHandler<WebEnv> => {
  const handler = createMiddleware<WebEnv>((_, next) => next());
  rules.set(handler, 'public');
  return handler;
};

export interface RoleOptions {
  /**
   * Whether the route itself compares what it shows or changes with the limits of a token. Default false: a token that is
   * limited to tenants or job types is refused.
   */
  readonly checksLimits?: boolean;
}

/** Throws `forbidden` (403) for a lower role. */
export const requireRole = (
  role: Role,
  { checksLimits = false }: RoleOptions = {},
): MiddlewareHandler<WebEnv> => {
  const handler = createMiddleware<WebEnv>(async (c, next) => {
    const access = c.get('access');
    if (!hasRole(access.role, role)) {
      throw new PurserError(
        'forbidden',
        `this needs the role ${role}; ${access.operator.name} has the role ${access.role}`,
        { status: 403 },
      );
    }
    if (access.limits !== undefined && !checksLimits) {
      throw new PurserError(
        'forbidden',
        'a token that is limited to tenants or job types may not use this',
        { status: 403 },
      );
    }
    await next();
  });
  rules.set(handler, role);
  return handler;
};

const covers = (pattern: string, path: string): boolean =>
  pattern === path ||
  (pattern.endsWith('/*') &&
    (path === pattern.slice(0, -2) || path.startsWith(pattern.slice(0, -1))));

const strictness = (rule: RouteRule): number => ['public', ...roles].indexOf(rule);

/** Every route with the strictest rule that stands before it; undefined where none does. */
export function rulesOf(app: Hono<WebEnv>): (Omit<RuledRoute, 'rule'> & { rule?: RouteRule })[] {
  const shown = inspectRoutes(app);
  return app.routes.flatMap(({ method, path }, index) => {
    if (shown[index]?.isMiddleware !== false) return [];
    const [rule] = app.routes
      .slice(0, index)
      .filter(
        (earlier) =>
          (earlier.method === 'ALL' || earlier.method === method) && covers(earlier.path, path),
      )
      .flatMap(({ handler }) => rules.get(handler) ?? [])
      .toSorted((one, other) => strictness(other) - strictness(one));
    return [{ method, path, ...(rule === undefined ? {} : { rule }) }];
  });
}

/** Throws when a route has no rule. */
export function assertRuled(app: Hono<WebEnv>): void {
  const open = rulesOf(app).filter(({ rule }) => rule === undefined);
  if (open.length > 0) {
    throw new Error(
      `routes without a rule: ${open.map(({ method, path }) => `${method} ${path}`).join(', ')}`,
    );
  }
}
