/** `node loading-module.mjs MODULE`: loads handlers as a command does, with a small limit. */
import { loadHandlers } from '../../dist/handlers/load.js';

try {
  const handlers = await loadHandlers(process.argv[2], 1_000);
  process.stdout.write(`${handlers.map(({ type }) => type).join()}\n`);
} catch (error) {
  process.stderr.write(`purser: ${error.message}\n`);
  process.exitCode = error.exitCode;
}
