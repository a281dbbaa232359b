/** The name recorded for an operator's action unless `--by` gives another. */
import { userInfo } from 'node:os';

/** The operating system's user name, or `unknown` where it has none. */
export function operatorName(): string {
  try {
    return userInfo().username;
  } catch {
    return 'unknown';
  }
}
