/** Finds environment variables that were probably meant for Purser and are mistyped: the setting has its default then. */
import { variableNames } from '../../config.ts';
import { nearName } from '../terminal/near-name.ts';

export interface NearVariable {
  readonly name: string;
  /** The variable of Purser, which is not set. */
  readonly meant: string;
}

/** Short names, such as PORT, are near to too many others. */
const minLength = 8;
/** REDIS_USER is not REDIS_URL. */
const lettersPerSlip = 8;

export function nearVariables(env?: NodeJS.ProcessEnv): readonly NearVariable[] {
  const { unset, others } = variableNames(env);
  const known = unset.filter((name) => name.length >= minLength);
  return others.flatMap((name) => {
    const meant = nearName(name, known, lettersPerSlip);
    return meant === undefined ? [] : [{ name, meant }];
  });
}

export const nearVariableText = ({ name, meant }: NearVariable): string =>
  `the environment has ${name}, which Purser does not read, and no ${meant}; did you mean ${meant}?`;
