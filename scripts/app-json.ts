/**
 * Generates app.json for platforms that read it: process types with their sizes, add-ons, and every variable of
 * the schema. `npm run docs` writes the file; a test compares it.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeConfig } from '../src/config.ts';

type Setting =
  | { readonly value: string }
  | { readonly generator: 'secret' }
  | { readonly required: true };

/** Variables that a first deployment sets. The others are optional; add-ons set DATABASE_URL and REDIS_URL. */
const settings: Readonly<Record<string, Setting>> = {
  ENVIRONMENT: { value: 'production' },
  // The platform's Postgres and Redis have self-signed certificates.
  DATABASE_TLS_VERIFY: { value: 'false' },
  REDIS_TLS_VERIFY: { value: 'false' },
  // The platform's generator does not make 32 bytes in base64.
  KDF_SALT: { required: true },
  ENCRYPTION_KEY: { generator: 'secret' },
  DASHBOARD_USER: { value: 'operator' },
  DASHBOARD_PASSWORD: { generator: 'secret' },
  // The network of the platform's routers, which alone reach a web process.
  TRUSTED_PROXIES: { value: '10.0.0.0/8' },
};

/** The platform sets the port of every web process. */
const notSet = new Set(['PORT']);

export function appJson(): string {
  const process = { quantity: 1, size: 'basic' };
  const variables = describeConfig().filter(({ name }) => !notSet.has(name));
  const app = {
    name: 'purser',
    description: 'A worker fleet that cannot overspend, cannot mix tenants and cannot lose a job',
    buildpacks: [{ url: 'heroku/nodejs' }],
    addons: ['heroku-postgresql', 'heroku-redis'],
    formation: { web: process, scheduler: process, worker: process },
    env: Object.fromEntries(
      variables.map(({ name, description, example }) => [
        name,
        {
          description: example.startsWith('the output')
            ? `${description}. Use ${example}`
            : description,
          ...(settings[name] ?? { required: false }),
        },
      ]),
    ),
  };
  return `${JSON.stringify(app, undefined, 2)}\n`;
}

if (process.argv[1] === import.meta.filename) {
  writeFileSync(join(import.meta.dirname, '..', 'app.json'), appJson());
}
