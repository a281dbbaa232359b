/** The frame of every page of the console: landmarks, navigation, who is logged in, and the way out. */
import type { Context } from 'hono';
import { html } from 'hono/html';
import type { Child } from 'hono/jsx';
import { hasRole } from '../../operations/operators/roles.ts';
import { csrfField } from '../access/csrf.ts';
import type { Access, WebEnv } from '../web-env.ts';
import { scriptPath, stylesheetPath } from './assets.ts';
import { navigation } from './navigation.ts';

export interface PageProps {
  readonly title: string;
  /** Undefined without a login. */
  readonly access?: Access | undefined;
  /** The path of its entry in the navigation. */
  readonly path?: string;
  readonly narrow?: boolean;
  /** For the head. */
  readonly head?: Child;
  readonly children?: Child;
}

type JsxElement = ReturnType<typeof Page>;

function Navigation({ access, path }: { readonly access: Access; readonly path: string }) {
  return (
    <nav aria-label="Pages">
      <ul>
        {navigation
          .filter(({ role }) => hasRole(access.role, role))
          .map((entry) => (
            <li>
              <a href={entry.path} aria-current={entry.path === path ? 'page' : undefined}>
                {entry.title}
              </a>
            </li>
          ))}
      </ul>
    </nav>
  );
}

function Who({ access }: { readonly access: Access }) {
  return (
    <div class="who">
      <span>
        {access.operator.name} ({access.role})
      </span>
      {access.sessionId === undefined ? null : (
        <form method="post" action="/logout">
          <CsrfField access={access} />
          <button type="submit">Log out</button>
        </form>
      )}
    </div>
  );
}

/** In every form that changes something. */
export function CsrfField({ access }: { readonly access: Access }) {
  return <input type="hidden" name={csrfField} value={access.csrf ?? ''} />;
}

export function Page({ title, access, path = '', narrow, head, children }: PageProps) {
  return (
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>{title} - Purser</title>
        <link rel="icon" href="data:," />
        <link rel="stylesheet" href={stylesheetPath} />
        <script type="module" src={scriptPath}></script>
        {head}
      </head>
      <body>
        <a class="skip" href="#content">
          Skip to the content
        </a>
        <header class="top">
          <a class="brand" href="/">
            Purser
          </a>
          {access === undefined ? null : <Who access={access} />}
          {access === undefined ? null : <Navigation access={access} path={path} />}
        </header>
        <main id="content" tabindex={-1} class={narrow === true ? 'narrow' : undefined}>
          <h1>{title}</h1>
          {children}
        </main>
      </body>
    </html>
  );
}

/** Answers with a page. */
export const answerPage = (
  c: Context<WebEnv>,
  page: JsxElement,
  status: 200 | 400 | 401 | 403 | 404 | 409 | 429 | 500 | 503 = 200,
): Response | Promise<Response> => c.html(html`<!doctype html>${page}`, status);

/** A point in time, in UTC; the script adds the browser's zone. */
export function Time({ at }: { readonly at: Date }) {
  const text = at.toISOString();
  return <time datetime={text}>{text.slice(0, 19).replace('T', ' ')}</time>;
}
