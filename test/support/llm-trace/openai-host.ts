/** Requests to api.openai.com reach the loopback interface: the provider of a test answers under OpenAI's name. */
import dns from 'node:dns';

const { lookup } = dns;

/** Also for other hosts of this process, until the returned function is called. */
export function openAiOnLoopback(): () => void {
  const toLoopback = (name: string, ...rest: unknown[]) =>
    Reflect.apply(lookup, dns, [name === 'api.openai.com' ? '127.0.0.1' : name, ...rest]);
  Object.defineProperty(dns, 'lookup', { value: toLoopback, configurable: true, writable: true });
  return () => {
    Object.defineProperty(dns, 'lookup', { value: lookup, configurable: true, writable: true });
  };
}

/** The base URL of a provider under OpenAI's name. */
export function asOpenAi(url: string): string {
  const { port, pathname } = new URL(url);
  return `http://api.openai.com:${port}${pathname}`;
}
