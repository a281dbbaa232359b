/**
 * The address of a client. X-Forwarded-For is text from the client; only what a trusted proxy appended to it counts.
 */
import { BlockList, isIP } from 'node:net';

export type ClientAddress = (peer: string | undefined, forwardedFor: string | undefined) => string;

/** `trustedProxies` are addresses and networks as TRUSTED_PROXIES has them; without any, the peer is the client. */
export function clientAddressReader(trustedProxies: readonly string[]): ClientAddress {
  const trusted = new BlockList();
  for (const proxy of trustedProxies) {
    const [address = '', prefix] = proxy.split('/');
    const family = familyOf(address);
    if (prefix === undefined) trusted.addAddress(address, family);
    else trusted.addSubnet(address, Number(prefix), family);
  }
  /** From the peer backwards, the first address that is not a trusted proxy. */
  return (peer, forwardedFor) => {
    if (peer === undefined) return 'unknown';
    let address = plainAddress(peer);
    for (const entry of (forwardedFor ?? '').split(',').toReversed()) {
      const before = plainAddress(entry.trim());
      if (isIP(before) === 0 || !trusted.check(address, familyOf(address))) return address;
      address = before;
    }
    return address;
  };
}

const familyOf = (address: string): 'ipv4' | 'ipv6' => (isIP(address) === 6 ? 'ipv6' : 'ipv4');

/** Without a port, the brackets around an IPv6 address, and the IPv6 form of an IPv4 address. */
function plainAddress(text: string): string {
  const bracketed = /^\[([^\]]+)\](?::\d+)?$/.exec(text)?.[1];
  const withPort = /^(\d+\.\d+\.\d+\.\d+):\d+$/.exec(text)?.[1];
  const address = bracketed ?? withPort ?? text;
  return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1] ?? address;
}
