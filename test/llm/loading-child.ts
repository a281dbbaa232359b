/** Creates an LLM gateway in a process that writes each module it loads to stderr. Argument: a provider as JSON. */
import { register } from 'node:module';
import type { LlmProviderConfig } from '../../src/llm/create-llm.ts';
import type { TestAttempt } from '../support/tenants.ts';

const hook = `
  import { writeSync } from 'node:fs';
  export async function resolve(specifier, context, next) {
    const resolved = await next(specifier, context);
    writeSync(2, 'loads ' + resolved.url + '\\n');
    return resolved;
  }`;
register(`data:text/javascript,${encodeURIComponent(hook)}`);

const [, , argument = '{}'] = process.argv;
const options: {
  url: string;
  provider: LlmProviderConfig;
  attempt: TestAttempt;
} = JSON.parse(argument);
const { connect } = await import('../../src/db/connect.ts');
const { createLlm } = await import('../../src/llm/create-llm.ts');
const { createLogger } = await import('../../src/log.ts');

const sql = connect(options.url, { max: 2, applicationName: 'purser test loading' });
// A function cannot be part of the JSON argument.
const provider =
  options.provider.kind === 'offline'
    ? { ...options.provider, analyst: { model: 'echo', answers: () => ['All is well locally'] } }
    : options.provider;
const gateway = createLlm({ provider, budgetSql: sql });
console.error('the gateway is created');
const { signal } = new AbortController();
const log = createLogger({ level: 'silent', role: 'test' });
const { call } = gateway.forAttempt({ ...options.attempt, signal, log });
const question = { system: 'Be brief.', prompt: 'Well?', json: false, maxOutputTokens: 100 };
const { text } = await call(question);
console.log(text);
await sql.end();
