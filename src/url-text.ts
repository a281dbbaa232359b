/**
 * The text of a variable that is a URL, before and without a URL parser. A parser ends the login at the first `/`, `?`
 * or `#`, takes the rest of such a password for path, parameters or fragment, and drops line feeds. No part of a URL
 * goes into a message but the name of a parameter that is a plain word.
 */

const control = /\p{Cc}/u;
const scheme = /^[a-z][a-z0-9+.-]*:\/*/i;

/** What neither a URL nor a secret may have, because nobody sees it; completes `NAME ...`. */
export function invisibleFault(text: string): string | undefined {
  if (control.test(text)) return 'has a control character, such as a line feed; remove it';
  return text === text.trim() ? undefined : 'has a blank at its start or end; remove it';
}

/** What no URL may have, whatever its scheme; completes `NAME ...`. */
export function urlTextFault(text: string): string | undefined {
  const fault = invisibleFault(text);
  if (fault !== undefined) return fault;
  const rest = text.replace(scheme, '');
  const end = rest.search(/[/?#]/);
  if (end >= 0 && rest.includes('@', end)) {
    return (
      'has a / ? or # before an @: in a user or password these have to be percent-encoded (/ as %2F, ? as %3F, ' +
      '# as %23), and an @ behind the host too (as %40)'
    );
  }
  return undefined;
}

export interface Authority {
  /** Still encoded; undefined where the text has no `@`. */
  readonly login: string | undefined;
  /** An IPv6 address with its brackets. */
  readonly host: string;
  readonly port: string | undefined;
  /** Path and parameters. */
  readonly rest: string;
}

const authority = /^[a-z][a-z0-9+.-]*:\/\/(?:([^/?#]*)@)?(\[[^\]/?#]*\]|[^:/?#]*)(?::([^/?#]*))?/i;

/** What stands after `scheme://`; undefined for another form. */
export function authorityOf(text: string): Authority | undefined {
  const found = authority.exec(text);
  if (found === null) return undefined;
  const [all, login, host = '', port] = found;
  const rest = text.slice(all.length);
  return rest === '' || /^[/?#]/.test(rest) ? { login, host, port, rest } : undefined;
}

export const isPort = (text: string): boolean =>
  /^\d{1,5}$/.test(text) && Number(text) >= 1 && Number(text) <= 65_535;

export const portFault = 'has a port that is not a whole number from 1 to 65535';

/** What is wrong with an encoded part; completes `NAME ...`. Octets that are not UTF-8 cannot be decoded either. */
export function partFault(part: string): string | undefined {
  try {
    return control.test(decodeURIComponent(part))
      ? 'has an encoded control character (%00 to %1F, %7F), which no user, password, host or name can have'
      : undefined;
  } catch {
    return 'has a % that is not followed by two hexadecimal digits; write % as %25';
  }
}

/** The parameters, still encoded. As in libpq, and unlike in a form, a `+` is a plus. */
export function parametersOf(rest: string): readonly (readonly [name: string, value: string])[] {
  const start = rest.indexOf('?');
  const pairs = start < 0 ? [] : rest.slice(start + 1).split('&');
  return pairs
    .filter((pair) => pair !== '')
    .map((pair) => {
      const [name = '', ...value] = pair.split('=');
      return [name, value.join('=')] as const;
    });
}

/**
 * A parameter that is not known, for messages. Its name may be a piece of a password: of one that is given as a
 * parameter and has an `&`, or of one without a host behind it.
 */
export function parameterText(name: string, value: string, given: readonly string[]): string {
  return /^[a-z_]+$/i.test(name) && value !== '' && !given.includes('password')
    ? `the parameter ${name}`
    : 'a parameter whose name is not shown (an & in a value is written as %26)';
}
