/** Formats single values of the evidence: short, because every byte of the prompt costs money. */

/** Rounds to 6 significant digits. */
export function rounded(value: number): number {
  return Number(value.toPrecision(6));
}

/** Identifiers come from files; a long one is shortened in its middle. */
export function clipped(text: string): string {
  return text.length <= 160 ? text : `${text.slice(0, 80)}...${text.slice(-77)}`;
}
