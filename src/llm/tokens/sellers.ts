/** Who answers at a URL, where its host tells. A server that only speaks the protocol of another is none of them. */

/** Azure OpenAI has OpenAI's models under names that its customers choose. */
export type Seller = 'openai' | 'azure' | 'anthropic' | 'google';

const sellers: ReadonlyMap<string, Seller> = new Map([
  ['api.openai.com', 'openai'],
  ['api.anthropic.com', 'anthropic'],
  ['generativelanguage.googleapis.com', 'google'],
]);

export function sellerOf(url: string): Seller | undefined {
  const { hostname } = new URL(url);
  return (
    sellers.get(hostname) ?? (/^[\w-]+\.openai\.azure\.com$/.test(hostname) ? 'azure' : undefined)
  );
}
