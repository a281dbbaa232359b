/** Generates docs/openapi.json from the endpoints of the API. `npm run docs` writes the file; a test compares it. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { apiDocument } from '../src/web/api/document.ts';

export const openapiJson = (): string => `${JSON.stringify(apiDocument(), undefined, 2)}\n`;

if (process.argv[1] === import.meta.filename) {
  writeFileSync(join(import.meta.dirname, '..', 'docs', 'openapi.json'), openapiJson());
}
