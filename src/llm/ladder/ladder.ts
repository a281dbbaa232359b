/**
 * The forms of a request, from the one that was asked for to the cheapest. All are written and reserved for together:
 * the budget decides which one is sent, so that no form is refused by a limit that the next one would have met.
 */
import { priceOf } from '../../budget/prices/in-force.ts';
import { holdRequestOf, TakenOnce } from '../exchange.ts';
import { callOnce, requestOf } from '../gateway.ts';
import type { Call, Provider } from '../gateway.ts';
import { releaseHold, reserveHold } from '../holds.ts';
import type { HoldRequest } from '../hold-request.ts';
import type { Account } from '../holds.ts';
import { withOwnKey } from '../keys/with-own-key.ts';
import { LlmError } from '../llm.ts';
import { readConversation } from '../prompt/conversation.ts';
import type { CallLlm, LlmCall, LlmReply } from '../llm.ts';
import { writeRequest } from './write-request.ts';

/** Calls on one attempt's account. */
export const createProviderGateway =
  (provider: Provider) =>
  (account: Account): CallLlm =>
  (asked) =>
    callWith(provider, account, asked, callOnce);

type RunCall = (call: Call) => Promise<LlmReply>;

interface Form {
  readonly model: string;
  readonly maxOutputTokens: number;
  readonly minOutputTokens?: number;
}

/** Runs one call, with one key, in the form that fits, and a second time where the model refuses JSON mode. */
export async function callWith(
  configured: Provider,
  account: Account,
  asked: LlmCall,
  run: RunCall,
): Promise<LlmReply> {
  const provider = await withOwnKey(configured, account);
  try {
    return await runFitting(provider, account, asked, run);
  } catch (error) {
    const model = refusedJsonMode(error);
    if (model === undefined || !asked.json || provider.withoutJsonMode.has(model)) throw error;
    provider.withoutJsonMode.add(model);
    return runFitting(provider, account, asked, run);
  }
}

/** The model that refused JSON mode. */
function refusedJsonMode(error: unknown): string | undefined {
  if (!(error instanceof LlmError) || error.code !== 'llm_bad_request') return undefined;
  const { topic, model } = error.details;
  return topic === 'json_mode' && typeof model === 'string' ? model : undefined;
}

async function runFitting(
  provider: Provider,
  account: Account,
  asked: LlmCall,
  run: RunCall,
): Promise<LlmReply> {
  const [first, ...others] = formsOf(asked, provider.config.model);
  const call = await callOf(provider, account, asked, first);
  if (others.length === 0 && first.minOutputTokens === undefined) return run(call);
  const calls: [Call, ...Call[]] = [call];
  const requests: [HoldRequest, ...HoldRequest[]] = [await boundOf(call, first)];
  for (const form of others) {
    const other = await callOf(provider, account, asked, form);
    calls.push(other);
    requests.push(await boundOf(other, form));
  }
  const hold = await reserveHold(account, requests);
  const chosen = calls[hold.form] ?? call;
  const reserved = new TakenOnce(hold);
  try {
    const { maxOutputTokens } = hold;
    return await run({ ...chosen, asked: { ...chosen.asked, maxOutputTokens }, reserved });
  } finally {
    const left = reserved.take();
    if (left !== undefined) await releaseHold(account, left);
  }
}

function formsOf(asked: LlmCall, usualModel: string): readonly [Form, ...Form[]] {
  const { maxOutputTokens, minOutputTokens, fallbacks = [], model = usualModel } = asked;
  const first = { model, maxOutputTokens };
  const others = fallbacks.map((form) => ({ ...first, ...form }));
  if (minOutputTokens === undefined) return [first, ...others];
  // Its own cap first: a smaller one is the last resort.
  return [first, ...others, { ...(others.at(-1) ?? first), minOutputTokens }];
}

async function callOf(
  { protocol, config, baseUrl, withoutJsonMode, ownKey }: Provider,
  account: Account,
  asked: LlmCall,
  { model, maxOutputTokens }: Form,
): Promise<Call> {
  const price = await priceOf(account.sql, { tenantId: account.tenantId, model, baseUrl });
  const conversation =
    asked.conversation === undefined ? undefined : readConversation(asked.conversation);
  // A call of a tool is no JSON object; Google refuses the two together.
  const wantsJson = asked.json && (conversation?.tools ?? []).length === 0;
  const jsonMode = protocol.hasJsonMode && wantsJson && !withoutJsonMode.has(model);
  const form = { ...asked, maxOutputTokens };
  return {
    protocol,
    config,
    baseUrl,
    account,
    asked: form,
    conversation,
    model,
    price,
    jsonMode,
    ownKey,
  };
}

async function boundOf(call: Call, { minOutputTokens }: Form): Promise<HoldRequest> {
  const request = { ...(await writeRequest(call)), ...requestOf(call) };
  return { ...(await holdRequestOf(request)), minOutputTokens };
}
