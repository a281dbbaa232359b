/** Where a module that does not load is at fault. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const placeInStack = /(file:\/\/[^\s()]+?):(\d+)(?::\d+)?(?=[\s)]|$)/;
const childTimeoutMs = 5_000;

function placeIn(text: string): string | undefined {
  const [, url, line] = placeInStack.exec(text) ?? [];
  return url === undefined ? undefined : `${fileURLToPath(url)}:${line}`;
}

/** What Node prints of a module that ends a process. It executes nothing of one that does not parse. */
function printedByNode(url: string): Promise<string> {
  const program = `await import(${JSON.stringify(url)})`;
  const args = ['--input-type=module', '--eval', program];
  return new Promise((resolve) => {
    execFile(process.execPath, args, { timeout: childTimeoutMs }, (_error, _stdout, stderr) =>
      resolve(stderr),
    );
  });
}

/** `path:line` of what the import of `url` threw, where that can be known. */
export async function placeOfFault(error: unknown, url: string): Promise<string | undefined> {
  if (!(error instanceof Error)) return undefined;
  const known = placeIn(error.stack ?? '');
  if (known !== undefined || !(error instanceof SyntaxError)) return known;
  // Node keeps the line of what does not parse from programs, and prints it where nobody catches the error.
  return placeIn(await printedByNode(url));
}
