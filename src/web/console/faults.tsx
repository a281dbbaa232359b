/** The answer to an error: a page for a person's browser, JSON for everything else. */
import type { Context } from 'hono';
import { HTTPException } from 'hono/http-exception';
import { isStoreUnavailable } from '../../db/store-errors.ts';
import { PurserError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { answerThrown, apiPath } from '../api/problems.ts';
import type { WebEnv } from '../web-env.ts';
import { answerPage } from './layout.tsx';
import { FaultPage } from './pages/fault-page.tsx';

const statuses = [400, 401, 403, 404, 409, 429, 500, 503] as const;
type Status = (typeof statuses)[number];

const titles: Readonly<Record<Status, string>> = {
  400: 'Wrong request',
  401: 'Not logged in',
  403: 'Not allowed',
  404: 'Not found',
  409: 'Not possible now',
  429: 'Too many requests',
  500: 'Error',
  503: 'Not available',
};

/** A form of a page, or a page. */
const isOfPage = (c: Context<WebEnv>): boolean =>
  c.req.header('sec-fetch-mode') === 'navigate' ||
  (c.req.header('accept') ?? '').includes('text/html');

interface Fault {
  readonly error: string;
  readonly message: string;
  readonly status: number;
}

export function answerFault(
  c: Context<WebEnv>,
  { error, message, status }: Fault,
): Response | Promise<Response> {
  const known = statuses.find((each) => each === status);
  if (known === undefined || !isOfPage(c)) {
    return Response.json({ error, message }, { status });
  }
  // Not set where the error came before the login.
  const access = c.get('access') as WebEnv['Variables']['access'] | undefined;
  return answerPage(
    c,
    <FaultPage access={access} title={titles[known]} message={message} />,
    known,
  );
}

export function answerError(
  c: Context<WebEnv>,
  error: unknown,
  log: Logger,
): Response | Promise<Response> {
  if (apiPath.test(c.req.path)) return answerThrown(c, error, log);
  if (error instanceof HTTPException) return error.getResponse();
  if (error instanceof PurserError && error.status !== undefined) {
    return answerFault(c, { error: error.code, message: error.message, status: error.status });
  }
  log.error({ error, method: c.req.method, path: c.req.path }, 'request_failed');
  return isStoreUnavailable(error)
    ? answerFault(c, {
        error: 'store_unavailable',
        message: 'the database does not answer; try again',
        status: 503,
      })
    : answerFault(c, {
        error: 'internal',
        message: 'see the log of the web process',
        status: 500,
      });
}
