/** A worker's money side that reads a stream, to be killed in the middle: `crash-child.ts JSON`. */
import { connect } from '../../../src/db/connect.ts';
import { createLlm } from '../../../src/llm/create-llm.ts';
import { createHandlerLlm } from '../../../src/llm/handler-llm.ts';
import { directStreams, silentLog } from '../../support/llm-attempt.ts';
import type { TestAttempt } from '../../support/tenants.ts';

const [, , argument = '{}'] = process.argv;
const options: { url: string; baseUrl: string; attempt: TestAttempt } = JSON.parse(argument);
const sql = connect(options.url, { max: 2, applicationName: 'purser test crashing' });
const gateway = createLlm({
  provider: { kind: 'openai', model: 'ten-cents', baseUrl: options.baseUrl },
  budgetSql: sql,
});
const { signal } = new AbortController();
const { call, stream } = gateway.forAttempt({ ...options.attempt, signal, log: silentLog });
const llm = createHandlerLlm(call, undefined, directStreams(stream));
const question = { system: 'Be brief.', prompt: 'Well?', maxOutputTokens: 100 };
for await (const text of llm.stream(question)) console.log(`read ${text}`);
await sql.end();
