/** A worker's money side as a process of its own, to be killed: `crash-child.ts reserve|generate JSON`. */
import { connect } from '../../../src/db/connect.ts';
import { createLlm } from '../../../src/llm/create-llm.ts';
import { createHandlerLlm } from '../../../src/llm/handler-llm.ts';
import { reserve } from '../../support/holds.ts';
import { silentLog } from '../../support/llm-attempt.ts';
import type { TestAttempt } from '../../support/tenants.ts';

const [, , act = '', argument = '{}'] = process.argv;
const options: { url: string; baseUrl: string; attempt: TestAttempt } = JSON.parse(argument);
const sql = connect(options.url, { max: 2, applicationName: 'purser test crashing' });

if (act === 'reserve') {
  await reserve(sql, options.attempt, '0.1');
  console.log('reserved');
  setInterval(() => {}, 60_000);
} else {
  const gateway = createLlm({
    provider: { kind: 'openai', model: 'ten-cents', baseUrl: options.baseUrl },
    budgetSql: sql,
  });
  const { signal } = new AbortController();
  const llm = createHandlerLlm(
    gateway.forAttempt({ ...options.attempt, signal, log: silentLog }).call,
  );
  await llm.generate({ system: 'Be brief.', prompt: 'Well?', maxOutputTokens: 100 });
  console.log('generated');
  await sql.end();
}
