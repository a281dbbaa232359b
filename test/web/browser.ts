/** A browser as far as the login needs one: it keeps cookies, sends forms with their hidden fields, and its origin. */
import { once } from 'node:events';
import { request } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';

interface Request {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: URLSearchParams;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** Set-Cookie, each as a whole. */
  readonly cookies: readonly string[];
}

export class Browser {
  readonly #origin: string;
  readonly cookies = new Map<string, string>();
  /** Sent with every request. */
  readonly headers: Record<string, string>;

  constructor(origin: string, headers: Record<string, string> = {}) {
    this.#origin = origin;
    this.headers = headers;
  }

  /** By its name without the prefix. */
  cookie(name: string): string | undefined {
    return this.cookies.get(`__Host-${name}`) ?? this.cookies.get(name);
  }

  get(path: string, headers: Record<string, string> = {}): Promise<Answer> {
    return this.#send(path, { method: 'GET', headers: { accept: 'text/html', ...headers } });
  }

  post(
    path: string,
    fields: Record<string, string>,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    return this.#send(path, {
      method: 'POST',
      body: new URLSearchParams(fields),
      headers: { accept: 'text/html', origin: this.#origin, ...headers },
    });
  }

  /** Opens the login page and sends its form. */
  async logIn(user: string, password: string, next = '/'): Promise<Answer> {
    const page = await this.get(`/login?next=${encodeURIComponent(next)}`);
    return this.post('/login', { ...hiddenFields(page.text), user, password });
  }

  /** By node:http: fetch sets Sec-Fetch-Mode itself. */
  async #send(path: string, { method, body, headers }: Request): Promise<Answer> {
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const { hostname, port } = new URL(this.#origin);
    const sent = request({
      hostname,
      port,
      path,
      method,
      headers: {
        ...this.headers,
        ...(body === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
        ...headers,
        ...(cookie === '' ? {} : { cookie }),
      },
    });
    sent.end(body?.toString());
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    const cookies = response.headers['set-cookie'] ?? [];
    for (const set of cookies) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(set) ?? [];
      if (/max-age=0/i.test(set)) this.cookies.delete(name);
      else this.cookies.set(name, value);
    }
    const { statusCode: status = 0 } = response;
    const lines = Object.entries(response.headersDistinct).map(
      ([name, values = []]): [string, string] => [name, values.join(', ')],
    );
    return { status, headers: new Headers(lines), text: await text(response), cookies };
  }
}

/** Of the first form whose action is `action`, or of the first at all. */
export function hiddenFields(page: string, action?: string): Record<string, string> {
  const forms = page.split('<form').slice(1);
  const form = forms.find((text) => action === undefined || text.includes(`action="${action}"`));
  const fields = (form?.split('</form>')[0] ?? '').matchAll(
    /<input type="hidden" name="([^"]*)" value="([^"]*)"/g,
  );
  return Object.fromEntries([...fields].map(([, name = '', value = '']) => [name, value]));
}
