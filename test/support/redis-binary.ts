/** Whether this machine has a redis-server to start, looked up once per process. */
import { spawnSync } from 'node:child_process';

export const redisAvailable = spawnSync('redis-server', ['--version']).status === 0;

export const redisMissing =
  'no redis-server on this machine, so suites on Redis do not run ' +
  '(Debian: apt-get install redis-server)';
