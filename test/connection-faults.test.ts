/** What an error of a connection tells its reader to do. */
import { expect, it } from 'vitest';
import { explainTls } from '../src/connection-faults.ts';

const withCode = (code: string) => Object.assign(new Error('as Node says it'), { code });

it.each([
  ['ERR_TLS_CERT_ALTNAME_INVALID', 'Postgres', /is for another host .*sslmode=verify-ca/],
  ['ERR_TLS_CERT_ALTNAME_INVALID', 'Redis', /is for another host [^;]*by a name that it has$/],
  ['SELF_SIGNED_CERT_IN_CHAIN', 'Postgres', /is not trusted .*NODE_EXTRA_CA_CERTS/],
] as const)('%s of %s', (code, service, message) => {
  expect(explainTls(withCode(code), service)).toMatchObject({
    code: 'certificate_refused',
    message: expect.stringMatching(message),
    exitCode: 69,
  });
});
