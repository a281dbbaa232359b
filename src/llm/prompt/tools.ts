/** The tools of a call: their schemas go to the model, and what it wants to call them with is checked by them. */
import type { StandardJSONSchemaV1, StandardSchemaV1 } from '@standard-schema/spec';
import { UsageError } from '../../errors.ts';
import { LlmOutputError } from '../llm.ts';
import { canValidate, issuesOf } from '../structured.ts';
import type { LlmTool, ReplyToolCall, ToolFacts } from './conversation.ts';
import { fieldsOf } from './messages.ts';
import type { LlmToolCall } from './messages.ts';

/** Throws a `UsageError` that names the tool. */
export function toolFacts(tools: Readonly<Record<string, LlmTool>>): ToolFacts[] {
  return Object.entries(tools).map(([name, tool]) => {
    const { description, input } = readTool(name, tool);
    const shown = description === undefined ? {} : { description };
    return { name, ...shown, inputSchema: jsonSchemaOf(name, input) };
  });
}

/** For handlers in plain JavaScript. */
function readTool(name: string, tool: unknown): LlmTool {
  const { description, input } = fieldsOf(tool) ?? {};
  if (!isSchema(input)) {
    throw new UsageError(
      `tool ${name}: its input must be a Standard Schema (zod, arktype ...) or a JSON Schema`,
    );
  }
  // Its type is checked with the conversation.
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  return { input, ...(description === undefined ? {} : { description: description as string }) };
}

const isSchema = (value: unknown): value is LlmTool['input'] =>
  (typeof value === 'object' && value !== null) || typeof value === 'function';

const isStandard = (input: LlmTool['input']): input is StandardSchemaV1 => '~standard' in input;

function jsonSchemaOf(name: string, input: LlmTool['input']): Readonly<Record<string, unknown>> {
  if (!isStandard(input)) return input;
  if (!canValidate(input)) throw new UsageError(`tool ${name}: its schema validates nothing`);
  const props: Partial<StandardJSONSchemaV1.Props> = input['~standard'];
  try {
    const schema = props.jsonSchema?.input({ target: 'draft-07' });
    if (schema !== undefined) return schema;
  } catch {
    // It has no JSON Schema.
  }
  throw new UsageError(
    `tool ${name}: its schema gives no JSON Schema; write its input as JSON Schema`,
  );
}

/**
 * The calls with their input parsed and checked. Throws `LlmOutputError` with the text of the answer where one calls a
 * tool that there is not, or with an input that its schema refuses.
 */
export async function parseToolCalls(
  calls: readonly ReplyToolCall[],
  tools: Readonly<Record<string, LlmTool>>,
  text: string,
  hint: string | undefined,
): Promise<LlmToolCall[]> {
  const parsed: LlmToolCall[] = [];
  const faults: string[] = [];
  for (const { id, name, args, signature } of calls) {
    const result = await inputOf(name, args, tools);
    if ('issues' in result) faults.push(...result.issues.map((issue) => `tool ${name}: ${issue}`));
    else
      parsed.push({
        id,
        name,
        input: result.input,
        ...(signature === undefined ? {} : { signature }),
      });
  }
  if (faults.length === 0) return parsed;
  throw new LlmOutputError(text, hint === undefined ? faults : [hint, ...faults]);
}

async function inputOf(
  name: string,
  args: string,
  tools: Readonly<Record<string, LlmTool>>,
): Promise<{ readonly input: unknown } | { readonly issues: readonly string[] }> {
  if (!Object.hasOwn(tools, name)) return { issues: ['there is no tool of this name'] };
  let input: unknown;
  try {
    input = args.trim() === '' ? {} : JSON.parse(args);
  } catch {
    return { issues: ['its input is not JSON'] };
  }
  const schema = tools[name]?.input;
  if (schema === undefined || !isStandard(schema)) return { input };
  const result = await schema['~standard'].validate(input);
  return result.issues === undefined
    ? { input: result.value }
    : { issues: issuesOf(result.issues) };
}
