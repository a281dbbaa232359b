/** Real text in many scripts, of a given number of tokens of o200k_base. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { decode, encode } from 'gpt-tokenizer';

const root = join(import.meta.dirname, '../../..');
const readAll = (...paths: readonly string[]) =>
  paths.map((path) => readFileSync(join(root, path), 'utf8')).join('\n');

/** Article 1 of the Universal Declaration of Human Rights. */
const articles: Readonly<Record<string, string>> = {
  ru: 'Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью и должны поступать в отношении друг друга в духе братства.',
  el: 'Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα. Είναι προικισμένοι με λογική και συνείδηση, και οφείλουν να συμπεριφέρονται μεταξύ τους με πνεύμα αδελφοσύνης.',
  ar: 'يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. وقد وهبوا عقلاً وضميرًا وعليهم أن يعامل بعضهم بعضًا بروح الإخاء.',
  he: 'כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. כולם חוננו בתבונה ובמצפון, לפיכך חובה עליהם לנהוג איש ברעהו ברוח של אחווה.',
  hi: 'सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है। उन्हें बुद्धि और अन्तरात्मा की देन प्राप्त है और परस्पर उन्हें भाईचारे के भाव से बर्ताव करना चाहिए।',
  th: 'มนุษย์ทั้งปวงเกิดมามีอิสระและเสมอภาคกันในศักดิ์ศรีและสิทธิ ต่างในตนมีเหตุผลและมโนธรรม และควรปฏิบัติต่อกันด้วยจิตวิญญาณแห่งภราดรภาพ',
  zh: '人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。',
  ja: 'すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。人間は、理性と良心とを授けられており、互いに同胞の精神をもって行動しなければならない。',
  ko: '모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 천부적으로 이성과 양심을 부여받았으며 서로 형제애의 정신으로 행동하여야 한다.',
};

/** The article between sentences of names of countries and currencies, which the runtime has in every language. */
function prose(language: string): string {
  const regions = new Intl.DisplayNames([language], { type: 'region' });
  const currencies = new Intl.DisplayNames([language], { type: 'currency' });
  const names = [
    ...['AT BR CD CN DE EG ET FR GR IN IL IR JP KE KR MX NG PK RU SA TH TR UA US VN ZA'.split(' ')]
      .flat()
      .map((code) => regions.of(code)),
    ...Intl.supportedValuesOf('currency').map((code) => currencies.of(code)),
  ];
  const article = articles[language] ?? '';
  return names.map((name, at) => (at % 12 === 0 ? `${name}.\n${article}\n` : `${name}, `)).join('');
}

/** Faces, hands, animals, flags and families, in sentences. */
function emoji(): string {
  const single = Array.from({ length: 300 }, (_, at) => String.fromCodePoint(0x1f400 + at * 2));
  const joined = ['👨‍👩‍👧‍👦', '👩🏽‍💻', '🏳️‍🌈', '🇫🇷', '🇯🇵', '👍🏿', '❤️‍🔥', '3️⃣'];
  return single
    .map((one, at) => `${one}${joined[at % joined.length]}${at % 5 === 0 ? '\n' : ''}`)
    .join('');
}

const sources: Readonly<Record<string, () => string>> = {
  English: () => readAll('README.md', 'docs/handlers.md', 'docs/security.md'),
  code: () => readAll('src/llm/failures.ts', 'src/db/migrate.ts', 'src/worker/worker.ts'),
  JSON: () => readFileSync(join(root, 'package-lock.json'), 'utf8').slice(0, 200_000),
  Cyrillic: () => prose('ru'),
  Greek: () => prose('el'),
  Arabic: () => prose('ar'),
  Hebrew: () => prose('he'),
  Devanagari: () => prose('hi'),
  Thai: () => prose('th'),
  Chinese: () => prose('zh'),
  Japanese: () => prose('ja'),
  Korean: () => prose('ko'),
  emoji,
};

/** `mixed` has a paragraph of each in turn. */
export const scripts: readonly string[] = [...Object.keys(sources), 'mixed'];

const encoded = new Map<string, readonly number[]>();

function tokensOf(script: string): readonly number[] {
  const known = encoded.get(script);
  if (known !== undefined) return known;
  const tokens = script === 'mixed' ? mixed() : encode(sources[script]?.() ?? '');
  encoded.set(script, tokens);
  return tokens;
}

function mixed(): readonly number[] {
  const all = Object.keys(sources).map(tokensOf);
  return Array.from({ length: 40 }, (_, at) =>
    all.flatMap((tokens) => tokens.slice(at * 80, at * 80 + 80)),
  ).flat();
}

/** Text of `count` tokens, of fewer by one or two where the cut divides a character; another part of it for each `at`. */
export function textOf(script: string, count: number, at: number): string {
  const all = tokensOf(script);
  const start = (at * 977) % all.length;
  const tokens = Array.from({ length: count }, (_, step) => all[(start + step) % all.length] ?? 0);
  return decode(tokens).replaceAll('�', '');
}
