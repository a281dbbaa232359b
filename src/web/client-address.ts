/**
 * The address a request came from. Behind a platform's router the peer is the router, which lies in a
 * private network and appends the client's address to X-Forwarded-For; nobody else's word is taken.
 */
import { BlockList, isIP } from 'node:net';

const routers = new BlockList();
routers.addSubnet('10.0.0.0', 8, 'ipv4');
routers.addSubnet('172.16.0.0', 12, 'ipv4');
routers.addSubnet('192.168.0.0', 16, 'ipv4');
routers.addSubnet('100.64.0.0', 10, 'ipv4');
routers.addSubnet('127.0.0.0', 8, 'ipv4');
routers.addSubnet('fc00::', 7, 'ipv6');
routers.addAddress('::1', 'ipv6');

/** `peer` is the socket's address; `forwardedFor` the header as it came. */
export function clientAddress(peer: string | undefined, forwardedFor: string | undefined): string {
  if (peer === undefined) return 'unknown';
  const direct = peer.startsWith('::ffff:') ? peer.slice('::ffff:'.length) : peer;
  const family = isIP(direct) === 6 ? 'ipv6' : 'ipv4';
  if (!routers.check(direct, family)) return direct;
  const nearest = forwardedFor?.split(',').at(-1)?.trim() ?? '';
  return isIP(nearest) === 0 ? direct : nearest;
}
