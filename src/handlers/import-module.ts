/** Imports a user's module, in TypeScript too where the user's project has tsx. */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { z } from 'zod';
import { codeOf, messageOf, PurserError } from '../errors.ts';

interface Tsx {
  readonly tsImport: (specifier: string, parentUrl: string) => Promise<unknown>;
}

const isTsx = (module: unknown): module is Tsx =>
  module !== null && typeof module === 'object' && 'tsImport' in module;

const packageShape = z.object({
  exports: z.object({
    './esm/api': z.object({ import: z.object({ default: z.string() }) }),
  }),
});

/** tsx of the project that the module is in, or of the current folder; undefined where neither has it. */
async function findTsx(url: string): Promise<Tsx | undefined> {
  for (const from of [url, pathToFileURL(`${process.cwd()}/`).href]) {
    try {
      // require.resolve finds the CommonJS entry; the one for import stands in the package's own file.
      const packageFile = createRequire(from).resolve('tsx/package.json');
      const { exports } = packageShape.parse(JSON.parse(await readFile(packageFile, 'utf8')));
      const entry = new URL(exports['./esm/api'].import.default, pathToFileURL(packageFile));
      const module: unknown = await import(entry.href);
      if (isTsx(module)) return module;
    } catch {
      // Not installed here, or of a version without this entry.
    }
  }
  return undefined;
}

/** No Node 20 loads TypeScript; newer ones load it without enums and the like. */
const codesOfTypeScript = new Set([
  'ERR_UNKNOWN_FILE_EXTENSION',
  'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX',
]);

/** Throws what the module throws, and `typescript_module` for TypeScript where it cannot be run. */
export async function importModule(url: string): Promise<unknown> {
  try {
    return await import(url);
  } catch (error) {
    // The module itself, or one that it imports.
    const isTypeScript =
      codesOfTypeScript.has(codeOf(error)) && /\.[cm]?tsx?\b/.test(messageOf(error));
    if (!isTypeScript) throw error;
    const tsx = await findTsx(url);
    if (tsx !== undefined) return tsx.tsImport(url, import.meta.url);
    throw new PurserError(
      'typescript_module',
      `this Node (${process.version}) does not run TypeScript: install tsx beside the module (npm install tsx), or ` +
        'compile it and name the JavaScript file',
      { cause: error },
    );
  }
}
