/** Finds the file and line of the error of a module that cannot be loaded. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const locationInStack = /(file:\/\/[^\s()]+?):(\d+)(?::\d+)?(?=[\s)]|$)/;
const childTimeoutMs = 5_000;

function locationIn(text: string): string | undefined {
  const [, url, line] = locationInStack.exec(text) ?? [];
  return url === undefined ? undefined : `${fileURLToPath(url)}:${line}`;
}

/** What Node prints when the import ends a process. A module that does not parse is not executed. */
function errorOutputOfNode(url: string): Promise<string> {
  const program = `await import(${JSON.stringify(url)})`;
  const args = ['--input-type=module', '--eval', program];
  return new Promise((resolve) => {
    execFile(process.execPath, args, { timeout: childTimeoutMs }, (_error, _stdout, stderr) =>
      resolve(stderr),
    );
  });
}

/** `path:line` of the error that the import of `url` threw; undefined where it is unknown. */
export async function locationOfError(error: unknown, url: string): Promise<string | undefined> {
  if (!(error instanceof Error)) return undefined;
  const known = locationIn(error.stack ?? '');
  if (known !== undefined || !(error instanceof SyntaxError)) return known;
  // A syntax error does not carry its line; Node prints it only for an uncaught error.
  return locationIn(await errorOutputOfNode(url));
}
