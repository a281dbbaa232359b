/**
 * Which encoding a model reads its text in. Exact names only, from tiktoken 0.14.0 (tiktoken/model.py), which OpenAI
 * publishes: a name that resembles one may be another model, and an unknown model has none.
 */
import type { EncodingName } from './rank-table.ts';
import { sellerOf } from './sellers.ts';

/*
 * Left out: models that search, hear or speak, whose input is more than the text of the messages, and aliases such as
 * chatgpt-4o-latest, behind which the model changes.
 */
const models: Readonly<Record<EncodingName, readonly string[]>> = {
  o200k_base: [
    'gpt-4o',
    'gpt-4o-mini',
    'gpt-4.1',
    'gpt-4.1-mini',
    'gpt-4.1-nano',
    'gpt-4.5-preview',
    'o1',
    'o1-mini',
    'o1-preview',
    'o3',
    'o3-mini',
    'o4-mini',
    'gpt-5',
    'gpt-5-mini',
    'gpt-5-nano',
    'gpt-5.1',
    'gpt-5.2',
    'gpt-5.3',
    'gpt-5.4',
    'gpt-5.4-mini',
    'gpt-5.4-nano',
    'gpt-5.5',
    'gpt-5.6',
    'gpt-5.6-luna',
    'gpt-5.6-sol',
    'gpt-5.6-terra',
  ],
  cl100k_base: [
    'gpt-3.5-turbo',
    'gpt-3.5-turbo-16k',
    'gpt-35-turbo',
    'gpt-35-turbo-16k',
    'gpt-4',
    'gpt-4-32k',
    'gpt-4-turbo',
    'gpt-4-turbo-preview',
    'gpt-4-0125-preview',
    'gpt-4-1106-preview',
  ],
};

const encodingOf: ReadonlyMap<string, EncodingName> = new Map([
  ...models.o200k_base.map((model) => [model, 'o200k_base'] as const),
  ...models.cl100k_base.map((model) => [model, 'cl100k_base'] as const),
]);

/** The date or revision of a snapshot, which reads its text as its model does. */
const snapshot = /-(?:\d{4}-\d{2}-\d{2}|\d{4})$/;

/**
 * The encodings of which one is that of `model` at `url`; none where it is not known. At Azure the name is that of a
 * deployment, which is often kept when another of OpenAI's models replaces the first: it may have either encoding.
 */
export function encodingsOf(url: string, model: string): readonly EncodingName[] {
  const encoding = encodingOf.get(model) ?? encodingOf.get(model.replace(snapshot, ''));
  const seller = sellerOf(url);
  if (encoding === undefined || (seller !== 'openai' && seller !== 'azure')) return [];
  return seller === 'openai' ? [encoding] : ['o200k_base', 'cl100k_base'];
}
