/**
 * Manifests that providers write beside an export in several files: the CUR's (`reportKeys`), AWS Data Exports'
 * (`dataFiles`) and Azure's (`blobs`). The files must lie beside the manifest.
 */
import { readFile, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import { PurserError } from '../../errors.ts';

const manifest = z.union([
  z.object({ reportKeys: z.array(z.string()) }).transform(({ reportKeys }) => reportKeys),
  z.object({ dataFiles: z.array(z.string()) }).transform(({ dataFiles }) => dataFiles),
  z
    .object({ blobs: z.array(z.object({ blobName: z.string() })) })
    .transform(({ blobs }) => blobs.map(({ blobName }) => blobName)),
]);
const maxManifestBytes = 4 * 1024 * 1024;

async function readManifest(path: string): Promise<readonly string[] | undefined> {
  if (!path.toLowerCase().endsWith('.json')) return undefined;
  if ((await stat(path)).size > maxManifestBytes) return undefined;
  try {
    const bytes = await readFile(path);
    // A decoder drops the BOM.
    const encoding = bytes[0] === 0xff && bytes[1] === 0xfe ? 'utf-16le' : 'utf-8';
    return manifest.safeParse(JSON.parse(new TextDecoder(encoding).decode(bytes))).data;
  } catch {
    return undefined;
  }
}

/**
 * Paths of the files that a manifest lists, or the path itself when it is not a manifest. Throws `export_parts` naming
 * listed files that are missing.
 */
export async function listedIn(path: string): Promise<string[]> {
  const listed = await readManifest(path);
  if (listed === undefined) return [path];
  const paths = listed.map((name) => join(dirname(path), basename(name)));
  const present = await Promise.all(
    paths.map((each) =>
      stat(each).then(
        (found) => found.isFile(),
        () => false,
      ),
    ),
  );
  const missing = paths.filter((_, index) => present[index] !== true).map((each) => basename(each));
  if (paths.length > 0 && missing.length === 0) return paths;
  throw new PurserError(
    'export_parts',
    paths.length === 0
      ? `${basename(path)} is a manifest that lists no files`
      : `${basename(path)} lists files that are not in its folder: ${missing.join(', ')}; download all of them there`,
    { details: { class: 'fatal', missing } },
  );
}
