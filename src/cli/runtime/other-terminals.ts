/** What makes the commands of another terminal use the embedded database of this process. */
import type { Config } from '../../config.ts';
import { quoted } from '../../operations/shell-text.ts';

/** Two lines, of which the second one is for a shell. */
export const otherTerminals = ({
  DATABASE_URL: url = '',
  PURSER_DATA_DIR: dataDir,
}: Config): string =>
  `to use purser in another terminal:\n  export DATABASE_URL=${quoted(url)} PURSER_DATA_DIR=${quoted(dataDir)}`;
