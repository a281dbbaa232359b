/**
 * An upper bound of the tokens of a request. A token covers at least one byte of the text that the tokenizer sees,
 * which may be a Unicode normalisation of the text that was sent: U+FDFA has 3 bytes, and 33 in NFKC.
 */

/** Covers the templates that a server puts around messages. */
const templateTokens = 256;

type Form = 'NFC' | 'NFD' | 'NFKC' | 'NFKD';

/** OpenAI's tokenizers take the bytes as they are. Anthropic's and Google's published tokenizers use NFKC. */
const byteLevelHosts = new Set(['api.openai.com']);
const composingHosts = new Set(['api.anthropic.com', 'generativelanguage.googleapis.com']);

function formsAt(host: string): readonly Form[] {
  if (byteLevelHosts.has(host)) return [];
  return composingHosts.has(host) ? ['NFC', 'NFKC'] : ['NFC', 'NFD', 'NFKC', 'NFKD'];
}

/** Of a serialised request to `url`. */
export function tokenBound(body: string, url: string): number {
  const bytes = Buffer.byteLength(body);
  // ASCII is the same in every form.
  if (bytes === body.length) return bytes + templateTokens;
  const forms = formsAt(new URL(url).host);
  const lengths = forms.map((form) => Buffer.byteLength(body.normalize(form)));
  return Math.max(bytes, ...lengths) + templateTokens;
}
