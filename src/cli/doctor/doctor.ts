/** `purser doctor`: checks this deployment. One line per check; warnings and failures come with a fix. */
import { exitCodes } from '../../errors.ts';
import type { Command, Invocation } from '../terminal/command.ts';
import { jsonOption } from '../terminal/command.ts';
import { readChecklist } from './checklist/checklist.ts';
import { examine } from './checks/checks.ts';
import type { Finding } from './checks/finding.ts';

function line(finding: Finding): string {
  const fix =
    finding.level === 'ok' || finding.fix === undefined ? '' : `\n      fix: ${finding.fix}`;
  return `${finding.level.padEnd(4)}  ${finding.check}: ${finding.seen}${fix}`;
}

async function showChecklist(invocation: Invocation): Promise<number> {
  const items = await readChecklist(invocation.config());
  const unmet = items.filter(({ met }) => met === false).length;
  if (invocation.flag('json')) invocation.print(JSON.stringify(items));
  else {
    for (const item of items) {
      const mark = item.met === undefined ? '[ ]' : item.met ? '[x]' : '[!]';
      invocation.print(
        `${mark} ${item.section}: ${item.item}\n      command:  ${item.command}\n      expected: ${item.expected}\n      seen:     ${item.seen}`,
      );
    }
    const open = items.filter(({ met }) => met === undefined).length;
    invocation.print(
      `\n${items.length} items, ${unmet} not met, ${open} to be checked with their command`,
    );
  }
  return unmet === 0 ? exitCodes.ok : exitCodes.failed;
}

async function run(invocation: Invocation): Promise<number> {
  if (invocation.flag('checklist')) return showChecklist(invocation);
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
    summary:
      'check configuration, database, tenancy, queues and processes; exit 1 when a check fails',
    options: {
      checklist: {
        help: "the customer's go-live checklist: for each item the command, what is expected, and what was measured",
      },
      json: jsonOption,
    },
    run,
  },
];
