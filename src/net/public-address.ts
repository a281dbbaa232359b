/**
 * Which addresses are of the internet, and a look-up that admits no other: the address that is checked is the one that
 * is connected to, so that a name cannot change between.
 */
import { lookup as lookupName } from 'node:dns';
import { BlockList, isIP } from 'node:net';
import type { LookupFunction } from 'node:net';

/** Not reachable from the internet: RFC 6890 and its registries for IPv4 and IPv6. */
const notPublic = new BlockList();
for (const [network, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
] as const) {
  notPublic.addSubnet(network, bits, 'ipv4');
}
/** Only 2000::/3 is global; within it these are not, or carry an IPv4 address that may be private. */
const globalV6 = new BlockList();
globalV6.addSubnet('2000::', 3, 'ipv6');
for (const [network, bits] of [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
] as const) {
  notPublic.addSubnet(network, bits, 'ipv6');
}

/** Mapped addresses, and those of a gateway to IPv4 (RFC 6052): the last 32 bits are an IPv4 address. */
const carriesV4 = /^(?:::ffff:|64:ff9b::)(?:(\d+\.\d+\.\d+\.\d+)|([\da-f]{1,4}):([\da-f]{1,4}))$/;

function carriedV4(address: string): string | undefined {
  const [whole, dotted, high = '', low = ''] = carriesV4.exec(address) ?? [];
  if (whole === undefined || dotted !== undefined) return dotted;
  const [a, b] = [Number.parseInt(high, 16), Number.parseInt(low, 16)];
  return [a >> 8, a & 255, b >> 8, b & 255].join('.');
}

/** Whether `address` can be of a host on the internet. An IPv6 address has no brackets and no zone. */
export function isPublicAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 4) return !notPublic.check(address, 'ipv4');
  if (family !== 6 || address.includes('%')) return false;
  // The shortest form, in lower case.
  const carried = carriedV4(new URL(`http://[${address}]`).hostname.slice(1, -1));
  if (carried !== undefined) return isPublicAddress(carried);
  return globalV6.check(address, 'ipv6') && !notPublic.check(address, 'ipv6');
}

export type Admits = (address: string) => boolean;

export const refusedHost = (host: string): string => `${host} is an address of a private network`;

/** A look-up that fails where any address of the name is not admitted. */
export const admittingLookup =
  (admits: Admits = isPublicAddress): LookupFunction =>
  (hostname, options, callback) => {
    lookupName(hostname, { ...options, all: true }, (error, addresses) => {
      const found = error === null ? addresses : [];
      const refused = found.find(({ address }) => !admits(address));
      const [first] = found;
      if (error !== null) callback(error, '', 0);
      else if (refused !== undefined || first === undefined) {
        callback(new Error(refusedHost(hostname)), '', 0);
      } else if (options.all === true) callback(null, found);
      else callback(null, first.address, first.family);
    });
  };

/** A host that is written as an address needs no look-up, so it is checked before. */
export function isRefusedLiteral(url: URL, admits: Admits = isPublicAddress): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return isIP(host) !== 0 && !admits(host);
}
