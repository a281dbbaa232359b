/** A JSON object from the command line, a file or stdin. Its text may be secret: no error quotes it. */
import { UsageError } from '../../errors.ts';
import { serialise } from '../../jobs/request.ts';

const maxPayloadBytes = 1_048_576;

/** The whole of `chunks` as text; `what` names them, e.g. `the payload on stdin`. Throws a usage error. */
export async function readText(chunks: AsyncIterable<Uint8Array>, what: string): Promise<string> {
  const read: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of chunks) {
    read.push(chunk);
    bytes += chunk.length;
    if (bytes > maxPayloadBytes) {
      throw new UsageError(`${what} is larger than ${maxPayloadBytes} bytes`);
    }
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(read));
  } catch {
    throw new UsageError(`${what} is not UTF-8 text; convert it first`);
  }
}

/** `hint` follows the fault of a text that is not JSON. Throws a usage error. */
export function parseJsonObject(text: string, hint: string): object {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's own message quotes the text.
    throw new UsageError(`--payload is not JSON; ${hint}`);
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    throw new UsageError('--payload must be a JSON object, e.g. {"periodDays": 30}');
  }
  // Before secret fields are encrypted: numbers that lost digits in the parser are refused.
  serialise(value);
  return value;
}
