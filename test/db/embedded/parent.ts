/** A process that owns an embedded Postgres until it is killed: the parent in embedded.test.ts. */
import { startEmbeddedPostgres } from '../../../src/db/embedded/embedded.ts';

const [, , dataDir = '', relocationRoot = ''] = process.argv;
const server = await startEmbeddedPostgres({ dataDir, relocationRoots: [relocationRoot] });
process.stdout.write(`${JSON.stringify({ url: server.url, dataDir: server.dataDir })}\n`);
setInterval(() => undefined, 60_000);
