/** Answers that are no streams. */
import type { ServerResponse } from 'node:http';

export function reply(
  response: ServerResponse,
  status: number,
  body: string,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(body);
}

/** JSON may begin with any amount of white space: the answer itself stands at the end. */
export async function sendHuge(
  response: ServerResponse,
  answer: string,
  bytes: number,
  onSent: (bytes: number) => void,
): Promise<void> {
  const blank = Buffer.alloc(64 * 1024, ' ');
  for (let sent = 0; sent < bytes && !response.destroyed; sent += blank.length) {
    await new Promise<void>((resolve) => {
      response.once('close', resolve);
      response.write(blank, () => {
        response.off('close', resolve);
        resolve();
      });
    });
    onSent(blank.length);
  }
  response.end(answer);
}
