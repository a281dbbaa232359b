/** `purser handlers new|list`: writes a handler skeleton; lists the handlers that a worker here would load. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { codeOf, exitCodes, PurserError, UsageError } from '../../errors.ts';
import { nameFault } from '../../names.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { jsonOption } from '../terminal/command.ts';
import { openRegistry } from '../../handlers/index.ts';
import { quoted } from '../../operations/shell-text.ts';
import { formatTable } from '../terminal/table.ts';

const templates = new URL('../../../templates/', import.meta.url);

/** Replaces the template's names with those of the new type. */
async function fill(template: string, type: string, base: string): Promise<string> {
  const text = await readFile(new URL(template, templates), 'utf8');
  return text.replaceAll('send_report', type).replaceAll('send-report', base);
}

async function writeNew(path: string, text: string): Promise<void> {
  try {
    await writeFile(path, text, { flag: 'wx' });
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error;
    throw new PurserError('file_exists', `${path} already exists and was not changed`);
  }
}

async function create(invocation: Invocation): Promise<number> {
  const type = invocation.positionals[0] ?? '';
  const fault = nameFault('job_type', type);
  if (fault !== undefined) throw new UsageError(fault);
  const folder = invocation.value('dir') ?? '.';
  const base = type.replaceAll('_', '-');
  const modulePath = join(folder, `${base}.mjs`);
  const testPath = join(folder, `${base}.test.mjs`);
  await mkdir(folder, { recursive: true });
  await writeNew(modulePath, await fill('send-report.mjs', type, base));
  await writeNew(testPath, await fill('send-report.test.mjs', type, base));
  invocation.print(`wrote ${modulePath} and ${testPath}`);
  invocation.print(`test it:  node --test ${quoted(testPath)}`);
  invocation.print(
    `run it:   PURSER_HANDLERS=${quoted(resolve(modulePath))} npx purser start worker`,
  );
  return exitCodes.ok;
}

async function list(invocation: Invocation): Promise<number> {
  const config = invocation.config();
  const registry = await openRegistry(config.PURSER_HANDLERS, undefined, config.PURSER_BUILTINS);
  const rows = [...registry.values()].map(
    ({ type, timeoutMs, maxAttempts, onBudget, giveUpAfterMs }) => ({
      type,
      timeoutMs,
      maxAttempts,
      onBudget,
      giveUpAfterMs,
    }),
  );
  if (invocation.flag('json')) invocation.print(JSON.stringify(rows));
  else {
    invocation.print(
      formatTable(
        ['type', 'timeout ms', 'attempts', 'on budget', 'gives up after ms'],
        rows.map((row) => Object.values(row)),
      ),
    );
  }
  return exitCodes.ok;
}

export const handlerCommands: readonly Command[] = [
  {
    path: 'handlers new',
    summary: 'write a handler skeleton and its test',
    positionals: [{ name: 'TYPE', help: 'job type, e.g. send_report', required: true }],
    options: { dir: { value: 'DIR', help: 'folder to write to (default: the current one)' } },
    run: create,
  },
  {
    path: 'handlers list',
    summary: 'list the job types that a worker with this environment runs',
    options: { json: jsonOption },
    run: list,
  },
];
