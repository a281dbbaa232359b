/** An amount of money. It is shown as it is stored: a rounded one could not be compared with an invoice. */

/** `usd`: an exact decimal, such as `0.0004` or `-12.5`. */
export const usdText = (usd: string): string => {
  const [, sign = '', whole = '', fraction = ''] = /^(-?)(\d+)(?:\.(\d+))?$/.exec(usd) ?? [];
  if (whole === '') return usd;
  const kept = fraction.replace(/0+$/, '').padEnd(2, '0');
  return `${sign}$${whole.replace(/\B(?=(\d{3})+$)/g, ',')}.${kept}`;
};

export function Usd({ usd }: { readonly usd: string }) {
  return <span class="usd">{usdText(usd)}</span>;
}
