/** The login page, and the page for a browser that a link of another site brought. */
import { csrfField } from '../../access/csrf.ts';
import { Page } from '../layout.tsx';

export interface LoginPageProps {
  readonly csrf: string;
  readonly next: string;
  /** What was wrong with the login before. */
  readonly fault?: string | undefined;
}

export function LoginPage({ csrf, next, fault }: LoginPageProps) {
  return (
    <Page title="Log in" narrow>
      {fault === undefined ? null : (
        <p class="notice bad" role="alert">
          {fault}
        </p>
      )}
      <form class="stacked" method="post" action="/login">
        <input type="hidden" name={csrfField} value={csrf} />
        <input type="hidden" name="next" value={next} />
        <label>
          Name
          <input name="user" autocomplete="username" autocapitalize="none" required autofocus />
        </label>
        <label>
          Password
          <input name="password" type="password" autocomplete="current-password" required />
        </label>
        <button type="submit">Log in</button>
      </form>
    </Page>
  );
}

/** Asks for the same address again, now from a page of this host, so that the browser sends its cookie. */
export function RevisitPage({ path }: { readonly path: string }) {
  return (
    <Page title="One moment" narrow head={<meta http-equiv="refresh" content={`0;url=${path}`} />}>
      <p>
        <a href={path}>Go on to the page</a>
      </p>
    </Page>
  );
}
