/** A handler thread: makes one LLM call over its parent port, with a schema if workerData is true, and posts its end. */
import { parentPort, workerData } from 'node:worker_threads';
import { z } from 'zod';
import { BudgetExceededError } from '../../src/budget/budget-exceeded.ts';
import { createHandlerLlm } from '../../src/llm/handler-llm.ts';
import { LlmError, LlmOutputError } from '../../src/llm/llm.ts';
import type { LlmReply } from '../../src/llm/llm.ts';
import { packError, unpackError } from '../../src/worker/executors/packed-errors.ts';
import type { PackedError } from '../../src/worker/executors/packed-errors.ts';

type FromGateway = { readonly reply: LlmReply } | { readonly error: PackedError };

const port = parentPort;
if (port === null) throw new Error('executor-child.ts runs as a worker thread');
const withSchema: unknown = workerData;
const llm = createHandlerLlm(
  (call) =>
    new Promise((resolve, reject) => {
      port.once('message', (answer: FromGateway) => {
        if ('reply' in answer) resolve(answer.reply);
        else reject(unpackError(answer.error));
      });
      port.postMessage({ call });
    }),
  (valid) => port.postMessage({ valid }),
);

const question = { system: 'Be brief.', prompt: 'How are the costs?', maxOutputTokens: 100 };
const schema = z.object({ summary: z.string() });
try {
  const answer = await llm.generate(withSchema === true ? { ...question, schema } : question);
  port.postMessage({ answer });
} catch (error) {
  const classes = { BudgetExceededError, LlmError, LlmOutputError };
  const is = Object.entries(classes).find(([, one]) => error instanceof one)?.[0];
  port.postMessage({ is, error: packError(error) });
}
port.close();
