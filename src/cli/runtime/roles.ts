/** What the roles of a process have in common. The role itself is in src/cli/roles/, one a file. */
import type { Config } from '../../config.ts';
import { keyringSourceOf, keysOf } from '../../crypto/open-keyring.ts';
import type { Database } from '../../db/database.ts';
import type { KnownKeys } from '../../db/heartbeats.ts';
import type { Lifecycle } from '../../process/lifecycle.ts';
import type { RoleName } from '../startup/steps.ts';
import type { Queues } from './services.ts';

export interface RoleContext {
  readonly config: Config;
  readonly lifecycle: Lifecycle;
  readonly database: Database;
  readonly queues: Queues;
  /** For heartbeats: the fleet writes with a key once every process has it. */
  readonly keys?: KnownKeys | undefined;
}

/**
 * System connections of a role. A worker has one more for its lease, and those of its threads (see
 * executorConnections). The web role has two, so that pages answer while an act waits for a lock. BullMQ's connections are
 * additional; see docs/deployment.md.
 */
export const systemConnections: Readonly<Record<RoleName, number>> = {
  scheduler: 2,
  worker: 2,
  web: 2,
};

/** undefined without ENCRYPTION_KEY. Derives each key, which takes about 0.2 s. Throws like `openKeyring`. */
export async function knownKeysOf(config: Config): Promise<KnownKeys | undefined> {
  const source = await keyringSourceOf(config);
  if (source === undefined) return undefined;
  const keyring = keysOf(source)();
  return { knownKeys: await keyring.marks(), primaryVersion: keyring.primaryVersion };
}
