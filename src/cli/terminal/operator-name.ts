/**
 * Who is at the keyboard, for the record of what was done.
 */
import { userInfo } from 'node:os';

/** The operating system's user name, or `unknown` where it has none. */
export function operatorName(): string {
  try {
    return userInfo().username;
  } catch {
    return 'unknown';
  }
}
