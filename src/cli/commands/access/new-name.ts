/** Checks of what the commands about access take: names of operators and tokens, and roles. */
import { UsageError } from '../../../errors.ts';
import { nameFault } from '../../../names.ts';
import { isRole, roles } from '../../../operations/operators/roles.ts';
import type { Role } from '../../../operations/operators/roles.ts';
import type { Invocation, OptionSpec } from '../../terminal/command.ts';

/** Throws a usage error for a name that is not allowed. */
export function newName(name: string): string {
  const fault = nameFault('operator', name);
  if (fault !== undefined) throw new UsageError(fault);
  return name;
}

export const roleOption = {
  value: 'ROLE',
  help: `one of ${roles.join(', ')}; each may do what the ones before it may`,
  required: true,
} satisfies OptionSpec;

/** Throws a usage error for another word. */
export function roleOf(text: string): Role {
  if (isRole(text)) return text;
  throw new UsageError(`the role must be one of ${roles.join(', ')}, not ${JSON.stringify(text)}`);
}

export const roleFrom = (invocation: Invocation): Role => roleOf(invocation.required('role'));
