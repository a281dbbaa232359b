/** The cases of the walk, from the registry: every role, each of its steps, each store of the step, every fault. */
import { roleNames, startupSteps, stepOf } from '../../../../src/cli/startup/steps.ts';
import type { RoleName, StepName } from '../../../../src/cli/startup/steps.ts';
import type { Fault, Target } from './lane.ts';

export interface WalkCase {
  readonly role: RoleName;
  readonly step: StepName;
  readonly target: Target;
  readonly fault: Fault;
  /** The step cannot end while the fault lasts. */
  readonly holdsUp: boolean;
  /** The role ends with 78. */
  readonly ends: boolean;
}

// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the keys of a constant
export const stepNames = Object.keys(startupSteps) as StepName[];
const faults = ['refused', 'full', 'slow', 'half_open', 'wrong_password', 'read_only'] as const;

const targetsOf = (role: RoleName, step: StepName): Target[] => [
  ...stepOf(step).stores.flatMap((store): Target[] =>
    store === 'database' ? ['database'] : ['redis', 'postgres_queues'],
  ),
  // Opened and checked by the same step, at tenancy level L3.
  ...(role === 'worker' && step === 'connect_database' ? (['tenant_login'] as const) : []),
];

const allCases: readonly WalkCase[] = roleNames.flatMap((role) =>
  stepNames
    .filter((step) => stepOf(step).roles.includes(role))
    .flatMap((step) =>
      targetsOf(role, step).flatMap((target) =>
        faults
          // Redis has no such fault that differs from refused.
          .filter((fault) => fault !== 'full' || target !== 'redis')
          .map((fault): WalkCase => {
            const { goesOn = false, writes = false } = stepOf(step);
            const passes = goesOn || fault === 'slow' || (fault === 'read_only' && !writes);
            const ends = fault === 'wrong_password' && (!goesOn || step === 'connect_queue_store');
            return { role, step, target, fault, holdsUp: !passes && !ends, ends };
          }),
      ),
    ),
);

export const walkCases = allCases;

const variables: Readonly<Record<Target, string>> = {
  database: 'DATABASE_URL',
  tenant_login: 'TENANT_DATABASE_URL',
  redis: 'REDIS_URL',
  postgres_queues: 'DATABASE_DIRECT_URL',
};
export const variableOf = ({ target }: WalkCase): string => variables[target];
