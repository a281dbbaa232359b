/** How single values stand in the evidence: short, as every byte of it is paid for. */

/** 6 significant digits: enough to read, few enough to pay for. */
export function rounded(value: number): number {
  return Number(value.toPrecision(6));
}

/** Identifiers come from files: a long one must not crowd out the rest. */
export function clipped(text: string): string {
  return text.length <= 160 ? text : `${text.slice(0, 80)}...${text.slice(-77)}`;
}
