/** The width of a text on a terminal, in cells of one letter, and the longest beginning of it that fits a width. */

const segments = new Intl.Segmenter('en', { granularity: 'grapheme' });
/** East Asian wide and fullwidth characters, and emoji. */
const wide =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u;
/** Texts of these characters alone need no segmenter. */
const plain = /^[\u0020-\u007e\u00a0-\u02ff]*$/;

function widthOf(grapheme: string): number {
  if (/^\p{M}+$|^[\u200b-\u200d\ufeff]$/u.test(grapheme)) return 0;
  return wide.test(grapheme) ? 2 : 1;
}

export function textWidth(text: string): number {
  if (plain.test(text)) return text.length;
  let width = 0;
  for (const { segment } of segments.segment(text)) width += widthOf(segment);
  return width;
}

/** The text, or its beginning and an ellipsis where it is wider than `width`. */
export function fitText(text: string, width: number): string {
  if (textWidth(text) <= width) return text;
  let kept = '';
  let used = 1;
  for (const { segment } of segments.segment(text)) {
    used += widthOf(segment);
    if (used > width) break;
    kept += segment;
  }
  return `${kept}\u2026`;
}

export const padText = (text: string, width: number): string =>
  text + ' '.repeat(Math.max(0, width - textWidth(text)));
