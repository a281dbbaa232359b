/** The result of one check of `doctor`. */
export interface Finding {
  readonly check: string;
  readonly level: 'ok' | 'warn' | 'fail';
  readonly seen: string;
  /** What to do; every warning and failure has one. */
  readonly fix?: string;
}

export type CheckResult = Omit<Finding, 'check'>;

export const ok = (seen: string): CheckResult => ({ level: 'ok', seen });
export const warn = (seen: string, fix: string): CheckResult => ({ level: 'warn', seen, fix });
export const fail = (seen: string, fix: string): CheckResult => ({ level: 'fail', seen, fix });
