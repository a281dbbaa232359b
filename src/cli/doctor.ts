/** `purser doctor`: is this deployment sound? One line per check, each with its fix. */
import { exitCodes } from '../errors.ts';
import type { Command, Invocation } from './command.ts';
import { jsonOption } from './command.ts';
import { examine } from './doctor-checks.ts';
import type { Finding } from './doctor-checks.ts';

function line(finding: Finding): string {
  const fix =
    finding.level === 'ok' || finding.fix === undefined ? '' : `\n      fix: ${finding.fix}`;
  return `${finding.level.padEnd(4)}  ${finding.check}: ${finding.seen}${fix}`;
}

async function run(invocation: Invocation): Promise<number> {
  const findings = await examine(invocation.config());
  const failed = findings.filter(({ level }) => level === 'fail').length;
  const warned = findings.filter(({ level }) => level === 'warn').length;
  if (invocation.flag('json')) invocation.print(JSON.stringify(findings));
  else {
    for (const finding of findings) invocation.print(line(finding));
    invocation.print(`\n${findings.length} checks, ${failed} failed, ${warned} warnings`);
  }
  return failed === 0 ? exitCodes.ok : exitCodes.failed;
}

export const doctorCommands: readonly Command[] = [
  {
    path: 'doctor',
    summary: 'check configuration, database, tenancy, queues and fleet; exit 1 when a check fails',
    options: { json: jsonOption },
    run,
  },
];
