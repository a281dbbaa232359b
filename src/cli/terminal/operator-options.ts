/** The options `--by` and `--reason`, which are recorded with an operator's act. */
import { hostname } from 'node:os';
import { UsageError } from '../../errors.ts';
import type { Operator } from '../../operations/audit.ts';
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

/** `--by` and `--reason` of a command whose reason is optional. */
export const actOptions = {
  by: byOption,
  reason: { ...reasonOption, required: false },
} satisfies Readonly<Record<string, OptionSpec>>;

/** Who acts, and why, as the options say, both checked. */
export function actOf(invocation: Invocation): {
  readonly operator: Operator;
  readonly reason: string | undefined;
} {
  const reason = invocation.value('reason');
  return {
    operator: operatorOf(byName(invocation)),
    reason: reason === undefined ? undefined : reasonOf(reason),
  };
}

/** As `actOf`, of a command that needs a reason. */
export function reasonedActOf(invocation: Invocation): {
  readonly operator: Operator;
  readonly reason: string;
} {
  const reason = reasonOf(invocation.required('reason'));
  return { operator: operatorOf(byName(invocation)), reason };
}

/** The operator of a command line, who is taken at their word. */
export function operatorOf(name: string): Operator {
  return { name, proof: 'asserted', door: 'cli', host: hostname() };
}

/** `--by`, or the login on this machine, checked. */
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
