/**
 * `purser demo`: the whole fleet on this machine. It uploads a FOCUS export of many tenants (generated, or a
 * file of the user), waits until every tenant's analysis has ended, and prints the result.
 */
import { finopsJobTypes, requireBuiltins } from '../../builtins.ts';
import type { Config } from '../../config.ts';
import { exitCodes } from '../../errors.ts';
import { createLogger } from '../../log.ts';
import { Lifecycle, stopOnSignals } from '../../process/lifecycle.ts';
import { otherTerminals } from '../runtime/other-terminals.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { inputFile } from '../terminal/input-file.ts';
import { wholeNumber } from '../terminal/parse.ts';
import { chooseFile, uploadDataSet } from './data-set.ts';
import { chooseDatabase } from './database.ts';
import type { DemoRun } from './database.ts';
import { startFleet } from './fleet.ts';
import { printReport } from './report.ts';
import { readShortfall } from './shortfall.ts';
import { untilDone } from './wait.ts';

async function runDemo(demo: DemoRun): Promise<number> {
  const { invocation, lifecycle } = demo;
  const port = wholeNumber(invocation, 'port', demo.config.PORT, { min: 0, max: 65_535 });
  const focusFile = invocation.value('focus');
  if (focusFile !== undefined) await inputFile(focusFile);
  const config = await chooseDatabase(demo);
  const fleet = await startFleet(demo, config, port);

  const path = await chooseFile(invocation, config.PURSER_DATA_DIR);
  const uploaded = await uploadDataSet(demo, fleet.database, path);
  const tenantIds = uploaded.uploads.map(({ tenantId }) => tenantId);
  await untilDone(demo, fleet.database, tenantIds);
  await printReport(invocation, fleet, uploaded);
  const shortfall = await readShortfall(fleet.database.system, uploaded);
  for (const line of shortfall) invocation.note(line);
  if (invocation.flag('once')) return shortfall.length === 0 ? exitCodes.ok : exitCodes.failed;

  const { web } = fleet;
  invocation.note(`\ndashboard: http://127.0.0.1:${web.port}/  login: ${web.user}`);
  if (web.generatedPassword !== undefined) invocation.note(`password: ${web.generatedPassword}`);
  invocation.note(otherTerminals(config));
  invocation.note('The fleet keeps running; Ctrl-C stops it. The data stays for the next run.');
  await lifecycle.untilStopped();
  return exitCodes.ok;
}

async function run(invocation: Invocation): Promise<number> {
  const given = invocation.config();
  requireBuiltins('demo', finopsJobTypes, given.PURSER_BUILTINS);
  // The fleet's log lines would hide the demo's output; LOG_LEVEL=debug shows them.
  const config: Config = given.LOG_LEVEL === 'info' ? { ...given, LOG_LEVEL: 'fatal' } : given;
  const lifecycle = new Lifecycle(createLogger({ level: config.LOG_LEVEL, role: 'demo' }));
  const ignoreSignals = stopOnSignals(lifecycle);
  try {
    return await runDemo({ invocation, config, lifecycle });
  } finally {
    await lifecycle.close();
    ignoreSignals();
    // process.exit() waits for every thread; a stuck thread would never let it return.
    if (lifecycle.byForce) process.kill(process.pid, 'SIGKILL');
  }
}

export const demoCommands: readonly Command[] = [
  {
    path: 'demo',
    summary: 'run the whole fleet on this machine, on generated data or on your FOCUS file',
    options: {
      once: { help: 'exit when the work is done; 1 when rows of the file were left out' },
      focus: { value: 'FILE', help: 'a FOCUS CSV file; its column SubAccountId names the tenants' },
      here: {
        help: 'write into the database of DATABASE_URL without asking; --data uses an embedded one instead',
      },
      json: { help: 'print one JSON object instead of the table' },
      port: { value: 'N', help: 'port of the dashboard (default PORT; 0: any free port)' },
      data: {
        value: 'DIR',
        help: 'data folder of the embedded Postgres (default PURSER_DATA_DIR)',
      },
    },
    run,
  },
];
