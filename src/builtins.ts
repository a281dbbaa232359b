/**
 * The built-in FinOps job types by name, and which of them a deployment runs (PURSER_BUILTINS). Names alone:
 * nothing of their code is loaded here. handlers/index.ts loads them, cli/runtime excludes their schedules.
 */
import { z } from 'zod';
import { exitCodes, PurserError } from './errors.ts';

export const finopsJobTypes = ['cost_ingestion', 'finops_analysis'] as const;
export type FinopsJobType = (typeof finopsJobTypes)[number];

export const isFinopsJobType = (name: string): name is FinopsJobType =>
  finopsJobTypes.some((type) => type === name);

/** PURSER_BUILTINS: `on`, `off`, or a comma-separated list of names. */
export const builtinsVariable = z.string().transform((text, context) => {
  if (text === 'on') return finopsJobTypes;
  if (text === 'off') return [];
  const names = text.split(',').map((name) => name.trim());
  if (names.every(isFinopsJobType)) return finopsJobTypes.filter((type) => names.includes(type));
  context.addIssue(`must be on, off, or a comma-separated list of ${finopsJobTypes.join(', ')}`);
  return z.NEVER;
});

/** Built-in job types that PURSER_BUILTINS leaves out. */
export function disabledBuiltins(enabled: readonly FinopsJobType[]): FinopsJobType[] {
  return finopsJobTypes.filter((type) => !enabled.includes(type));
}

/** Throws `builtin_disabled` (exit 78) when one of the job types that `what` needs is left out. */
export function requireBuiltins(
  what: string,
  needed: readonly string[],
  enabled: readonly FinopsJobType[],
): void {
  const missing = disabledBuiltins(enabled).filter((type) => needed.includes(type));
  if (missing.length === 0) return;
  throw new PurserError(
    'builtin_disabled',
    `${what} needs the built-in job ${missing.length === 1 ? 'type' : 'types'} ${missing.join(' and ')}, ` +
      'which PURSER_BUILTINS leaves out. Example: PURSER_BUILTINS=on',
    { exitCode: exitCodes.configuration, details: { missing } },
  );
}
