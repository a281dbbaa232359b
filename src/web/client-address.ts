/**
 * The client address of a request. Behind a platform's router the peer is the router, which has a private
 * address and appends the client's address to X-Forwarded-For. The header of any other peer is ignored.
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

/** `peer` is the socket's address, `forwardedFor` the value of X-Forwarded-For. */
export function clientAddress(peer: string | undefined, forwardedFor: string | undefined): string {
  if (peer === undefined) return 'unknown';
  const direct = peer.startsWith('::ffff:') ? peer.slice('::ffff:'.length) : peer;
  const family = isIP(direct) === 6 ? 'ipv6' : 'ipv4';
  if (!routers.check(direct, family)) return direct;
  const nearest = forwardedFor?.split(',').at(-1)?.trim() ?? '';
  return isIP(nearest) === 0 ? direct : nearest;
}
