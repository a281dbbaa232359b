/** The provider's own id of one request, by which its logs and exports list it. */
import type { Protocol } from '../protocol.ts';
import { parseObject } from '../provider-body.ts';
import type { JsonObject } from '../provider-body.ts';
import { optionalText } from './reported.ts';

type Reader = Pick<Protocol, 'requestIdHeader' | 'requestIdOf'>;

/** At most 200 characters. The header comes first: it is there also where a body is cut or has no id. */
export function requestIdOf(
  protocol: Reader,
  headers: Headers | undefined,
  body?: JsonObject,
): string | undefined {
  const { requestIdHeader: name } = protocol;
  const inHeader = name === undefined ? undefined : optionalText(headers?.get(name));
  return inHeader ?? (body === undefined ? undefined : optionalText(protocol.requestIdOf(body)));
}

/** Of a body as text: an answer, an error, or what arrived of either. */
export const requestIdIn = (protocol: Reader, headers: Headers | undefined, text = '') =>
  requestIdOf(protocol, headers, text === '' ? undefined : parseObject(text));
