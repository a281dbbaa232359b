/** Exact decimal sums for expectations, sharing no code with what is under test. */

export function exactSum(decimals: readonly string[]): string {
  const scale = 30;
  const units = decimals.map((text) => {
    const [mantissa = '', exponent = '0'] = text.toLowerCase().split('e');
    const [whole = '', fraction = ''] = mantissa.split('.');
    const shift = scale - fraction.length + Number(exponent);
    return BigInt(whole + fraction) * 10n ** BigInt(shift);
  });
  const sum = units.reduce((total, unit) => total + unit, 0n);
  const sign = sum < 0n ? '-' : '';
  const digits = (sum < 0n ? -sum : sum).toString().padStart(scale + 1, '0');
  const fraction = digits.slice(-scale).replace(/0+$/, '');
  return `${sign}${digits.slice(0, -scale)}${fraction === '' ? '' : `.${fraction}`}`;
}
