/**
 * The code of a failure: a stable word that tells causes apart which `code` alone does not, such as the status of an HTTP
 * answer, a refused connection below `fetch`, and values that are no errors. It classifies nothing: whether a failure is
 * retried does not depend on it.
 */
import { read } from '../bounded-json.ts';
import { isStoreUnavailable } from '../db/store-errors.ts';
import { codeOf, isError, PurserError } from '../errors.ts';

const maxCauses = 5;
const maxNameLength = 60;
const maxCodeLength = 100;

/** Codes of HTTP clients that only say that the status was no success (axios, got, undici). */
const bareHttpCode =
  /^(ERR_BAD_(REQUEST|RESPONSE)|ERR_NON_2XX_3XX_RESPONSE|UND_ERR_RESPONSE(_STATUS_CODE)?)$/;

/** Of sockets, addresses and undici, where they are the cause of another error. */
const connectionCodes: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection_refused',
  ECONNRESET: 'connection_reset',
  ECONNABORTED: 'connection_reset',
  EPIPE: 'connection_reset',
  UND_ERR_SOCKET: 'connection_reset',
  ETIMEDOUT: 'connection_timeout',
  UND_ERR_CONNECT_TIMEOUT: 'connection_timeout',
  UND_ERR_HEADERS_TIMEOUT: 'response_timeout',
  UND_ERR_BODY_TIMEOUT: 'response_timeout',
  ENOTFOUND: 'host_not_found',
  EAI_AGAIN: 'host_not_found',
  EHOSTUNREACH: 'host_unreachable',
  ENETUNREACH: 'host_unreachable',
  ERR_INVALID_URL: 'invalid_url',
};
const certificateCode = /^(CERT_\w+|\w*SELF_SIGNED\w*|UNABLE_TO_\w+|ERR_TLS_\w+)$/;

/**
 * In this order: its own code; `http_403` of a status; the same of its causes, where it has nothing of its own to say;
 * its name (`type_error`); `error`; `not_an_error` of `null`, a text and the like.
 */
export function failureCode(thrown: unknown): string {
  if (thrown instanceof PurserError) return thrown.code;
  const own = codeOf(thrown);
  // To look at a text of any size V8 may copy it into the thread's heap.
  if (own.length > maxCodeLength) return own;
  const status = statusCode(thrown);
  if (own !== 'error' && !(bareHttpCode.test(own) && status !== undefined)) return own;
  return status ?? codeOfCause(thrown) ?? nameCode(thrown) ?? unnamedCode(thrown);
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null;

const fieldOf = (value: unknown, key: string): unknown =>
  isObject(value) ? read(value, key) : undefined;

function statusCode(thrown: unknown): string | undefined {
  for (const holder of [thrown, fieldOf(thrown, 'response')]) {
    for (const key of ['status', 'statusCode']) {
      const status = fieldOf(holder, key);
      if (Number.isInteger(status) && Number(status) >= 300 && Number(status) <= 599) {
        return `http_${String(status)}`;
      }
    }
  }
  return undefined;
}

/** An outage of the own store has its own code at the error itself: no cause may look like one. */
function codeOfCause(thrown: unknown): string | undefined {
  let cause = firstCause(thrown);
  for (let depth = 0; depth < maxCauses && isObject(cause); depth += 1) {
    const code = codeOf(cause);
    if (code.length > maxCodeLength) return undefined;
    const named =
      connectionCodes[code] ?? (certificateCode.test(code) ? 'certificate_refused' : undefined);
    const found = named ?? statusCode(cause) ?? ownCause(cause);
    if (found !== undefined) return found;
    cause = firstCause(cause);
  }
  return undefined;
}

/** Of several errors (AggregateError) the first. */
function firstCause(thrown: unknown): unknown {
  const cause = fieldOf(thrown, 'cause');
  if (cause !== undefined) return cause;
  const errors = fieldOf(thrown, 'errors');
  return Array.isArray(errors) ? read(errors, '0') : undefined;
}

function ownCause(cause: object): string | undefined {
  if (!(cause instanceof PurserError)) return undefined;
  const { code } = cause;
  return code === 'job_timeout' || isStoreUnavailable({ code }) ? undefined : code;
}

/** `TypeError` is `type_error`. */
function nameCode(thrown: unknown): string | undefined {
  if (!isError(thrown)) return undefined;
  const name = read(thrown, 'name');
  if (typeof name !== 'string' || name.length > maxNameLength || !/^[A-Za-z]\w*$/.test(name)) {
    return undefined;
  }
  return name
    .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
    .replace(/([A-Z])([A-Z][a-z])/g, '$1_$2')
    .toLowerCase();
}

const unnamedCode = (thrown: unknown): string => (isError(thrown) ? 'error' : 'not_an_error');
