/** Asks for JSON in the prompt, and extracts and validates it from the answer. */
import type { StandardJSONSchemaV1, StandardSchemaV1 } from '@standard-schema/spec';
import { jsonWithin } from '../bounded-text.ts';
import { maxCallBytes } from './check-call.ts';
import { LlmOutputError } from './llm.ts';

const maxIssues = 20;

/** Text for the system prompt, with the JSON Schema where the schema library provides one. */
export function jsonInstructions(schema: StandardSchemaV1): string {
  const described = jsonSchemaOf(schema);
  const shape =
    described === undefined
      ? ''
      : ` that matches this JSON Schema:\n${jsonWithin(described, maxCallBytes)}`;
  return `Answer with one JSON object and nothing else: no prose, no code fence${shape}`;
}

function jsonSchemaOf(schema: StandardSchemaV1): Record<string, unknown> | undefined {
  const props: Partial<StandardJSONSchemaV1.Props> = schema['~standard'];
  try {
    return props.jsonSchema?.input({ target: 'draft-2020-12' });
  } catch {
    return undefined;
  }
}

/**
 * The validated object. Accepts a code fence, text around the object, and a reasoning block before it. Throws
 * `LlmOutputError` with the text and each issue as `path: message`.
 */
export async function parseAnswer<T>(
  text: string,
  schema: StandardSchemaV1<unknown, T>,
  hint?: string,
): Promise<T> {
  const parsed = parseJson(text);
  const fail = (issues: readonly string[]) =>
    new LlmOutputError(text, hint === undefined ? issues : [hint, ...issues]);
  if (parsed === undefined) {
    throw fail([text.trim() === '' ? 'the answer is empty' : 'the answer is not JSON']);
  }
  const result = await schema['~standard'].validate(parsed.value);
  if (result.issues === undefined) return result.value;
  throw fail(issuesOf(result.issues));
}

/** Each issue as `path: message`; at most 20. */
export function issuesOf(issues: readonly StandardSchemaV1.Issue[]): string[] {
  return issues.slice(0, maxIssues).map((issue) => {
    const path = (issue.path ?? [])
      .map((segment) => String(typeof segment === 'object' ? segment.key : segment))
      .join('.');
    return path === '' ? issue.message : `${path}: ${issue.message}`;
  });
}

/** For handlers in plain JavaScript. */
export function canValidate(schema: unknown): boolean {
  if (schema === null || (typeof schema !== 'object' && typeof schema !== 'function')) return false;
  const standard: unknown = Reflect.get(schema, '~standard');
  return (
    typeof standard === 'object' &&
    standard !== null &&
    typeof Reflect.get(standard, 'validate') === 'function'
  );
}

function parseJson(text: string): { readonly value: unknown } | undefined {
  const body = text.replace(/^\uFEFF/, '').replace(/^\s*<think>[\s\S]*?<\/think>/, '');
  const fenced = /```(?:json)?\s*\n([\s\S]*?)\n?\s*```/i.exec(body)?.[1];
  const braced = body.slice(body.indexOf('{'), body.lastIndexOf('}') + 1);
  for (const candidate of [body, fenced, braced]) {
    if (candidate === undefined || candidate.trim() === '') continue;
    try {
      return { value: JSON.parse(candidate) };
    } catch {
      // Try the next candidate.
    }
  }
  return undefined;
}
