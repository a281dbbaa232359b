/** The options `--by` and `--reason`, which are recorded with an operator's action. */
import { UsageError } from '../../errors.ts';
import type { Invocation, OptionSpec } from './command.ts';
import { nameFault } from '../../names.ts';
import { operatorName } from './operator-name.ts';
import { terminalSafe } from './output.ts';

const maxLength = 500;

export const byOption = {
  value: 'NAME',
  help: 'operator name to record (default: your login on this machine)',
} satisfies OptionSpec;

export const reasonOption = {
  value: 'TEXT',
  help: 'reason to record',
  required: true,
} satisfies OptionSpec;

/** Throws a usage error for an empty text, or one with characters that a terminal cannot show. */
function reasonOf(text: string): string {
  const trimmed = text.trim();
  if (trimmed === '')
    throw new UsageError(`--reason must not be empty, e.g. --reason "provider is down"`);
  const plain = terminalSafe(trimmed) === trimmed && !/[\t\n]/.test(trimmed);
  if (trimmed.length > maxLength || !plain || !trimmed.isWellFormed()) {
    throw new UsageError(
      `--reason must be one line of at most ${maxLength} characters without control characters`,
    );
  }
  return trimmed;
}

/** `--reason` and `--by`, checked. */
export function operatorRecord(invocation: Invocation): { reason: string; by: string } {
  return {
    reason: reasonOf(invocation.required('reason')),
    by: byName(invocation),
  };
}

/** `--by` alone, for actions that need no reason. */
export function byName(invocation: Invocation): string {
  const given = invocation.value('by');
  const name = given ?? operatorName();
  const fault = nameFault('operator', name);
  if (fault === undefined) return name;
  throw new UsageError(
    given === undefined
      ? `${fault}. This is your login on this machine; give another name with --by, e.g. --by alice`
      : `--by: ${fault}, e.g. --by alice`,
  );
}
