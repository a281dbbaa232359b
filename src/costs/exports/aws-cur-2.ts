/**
 * AWS CUR 2.0 as CSV: the columns of the legacy CUR under names in snake case (which Athena's tables over a legacy CUR
 * have too), with the product and the tags as JSON objects.
 */
import { z } from 'zod';
import { awsCurFormat } from './aws-cur.ts';
import { column, repeating, required, targets } from './format.ts';
import type { Combined, CostFormat, SourceColumn, Target } from './format.ts';
import { readTags, readText } from './values.ts';

/** `lineItem/UnblendedCost` is `line_item_unblended_cost`; a capital of an abbreviation is a word of its own. */
function snakeCase(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`).replaceAll(/\/_?/g, '_');
}

function renamed(): Partial<Record<Target, SourceColumn>> {
  const columns: Partial<Record<Target, SourceColumn>> = {};
  for (const target of targets) {
    const legacy = awsCurFormat.columns[target];
    if (legacy !== undefined) columns[target] = { ...legacy, names: legacy.names.map(snakeCase) };
  }
  return columns;
}

const productMap = z.object({ product_name: z.string().min(1) });

function productName(text: string): string | undefined {
  try {
    return productMap.safeParse(JSON.parse(text)).data?.product_name;
  } catch {
    return undefined;
  }
}

/** As in the legacy CUR: the product's name, else the product code. */
function serviceName([named = null, product = null, code = null]: readonly (
  | string
  | null
)[]): Combined {
  if (named !== null) return { text: named, from: 0 };
  const inMap = product === null ? undefined : productName(product);
  return inMap === undefined ? { text: code, from: 2 } : { text: inMap, from: 1 };
}

const tagPrefix = 'resource_tags_';

/** The JSON object, or the columns of Athena's tables. */
function tagsOf(texts: readonly (string | null)[], names: readonly string[]): Combined {
  const [object = null, ...others] = texts;
  if (object !== null) return { text: object, from: 0 };
  const tags = others.flatMap((text, index) =>
    text === null ? [] : [[(names[index + 1] ?? '').slice(tagPrefix.length), text] as const],
  );
  return { text: tags.length === 0 ? null : JSON.stringify(Object.fromEntries(tags)), from: 0 };
}

export const awsCur2Format: CostFormat = {
  name: 'aws-cur-2',
  title: 'an AWS CUR 2.0',
  columns: {
    ...renamed(),
    service_name: {
      ...column(['product_product_name', 'product', 'line_item_product_code'], readText, required),
      combine: serviceName,
    },
    tags: {
      ...column(['resource_tags'], readTags, repeating),
      prefix: tagPrefix,
      combine: tagsOf,
    },
  },
};
