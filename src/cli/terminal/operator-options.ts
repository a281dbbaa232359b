/** What an operator's act is recorded with: who, and why. */
import { UsageError } from '../../errors.ts';
import type { Invocation, OptionSpec } from './command.ts';
import { operatorName } from './operator-name.ts';
import { terminalSafe } from './output.ts';

const maxLength = 500;

export const byOption = {
  value: 'NAME',
  help: 'who, for the record (default: your login here)',
} satisfies OptionSpec;

export const reasonOption = {
  value: 'TEXT',
  help: 'why, for the record',
  required: true,
} satisfies OptionSpec;

/** Throws a usage error for a text that says nothing or that a terminal could not show as it is. */
function recordable(text: string, option: string, example: string): string {
  const trimmed = text.trim();
  if (trimmed === '')
    throw new UsageError(`--${option} must say it, e.g. --${option} "${example}"`);
  const plain = terminalSafe(trimmed) === trimmed && !/[\t\n]/.test(trimmed);
  if (trimmed.length > maxLength || !plain || !trimmed.isWellFormed()) {
    throw new UsageError(
      `--${option} has at most ${maxLength} characters in one line and no control characters`,
    );
  }
  return trimmed;
}

/** `--reason` and `--by`, as they go on the record. */
export function onRecord(invocation: Invocation): { reason: string; by: string } {
  return {
    reason: recordable(invocation.required('reason'), 'reason', 'provider is down'),
    by: byName(invocation),
  };
}

/** `--by` alone, for an act that says its own reason. */
export function byName(invocation: Invocation): string {
  return recordable(invocation.value('by') ?? operatorName(), 'by', 'alice');
}
