/**
 * Where an encrypted value lives: tenant, table.column and purpose. The context is bound into every
 * token that Purser writes, so a token copied to another place does not open there.
 */
import { createHash } from 'node:crypto';
import { PurserError } from '../errors.ts';
import { hasLoneSurrogate } from './text.ts';

/** Each purpose has separate keys. */
const encryptionPurposes = ['api_key', 'pii', 'generic'] as const;
export type EncryptionPurpose = (typeof encryptionPurposes)[number];

export interface EncryptionContext {
  readonly tenantId: string;
  /** Table and column, as in `aws_accounts.credentials`. */
  readonly column: `${string}.${string}`;
  readonly purpose: EncryptionPurpose;
}

const columnPattern = /^[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*$/;

/** @throws PurserError `encryption_context_invalid`: an error of the calling code, not of the data */
export function assertContext(context: EncryptionContext): void {
  if (context.tenantId === '' || hasLoneSurrogate(context.tenantId)) {
    throw contextInvalid('tenantId is empty or not well-formed text');
  }
  if (!columnPattern.test(context.column)) {
    throw contextInvalid('column must be table.column in lower case, as aws_accounts.credentials');
  }
  if (!encryptionPurposes.includes(context.purpose)) {
    throw contextInvalid(`purpose must be one of ${encryptionPurposes.join(', ')}`);
  }
}

/** Associated data of a v2 token: its tenant, table.column and key version. */
export function associatedData(context: EncryptionContext, keyVersion: number): Buffer {
  return lengthPrefixed(['purser/v2', context.tenantId, context.column, String(keyVersion)]);
}

/** HKDF info of the AES-256-GCM key of a purpose. */
export function sealedKeyInfo(purpose: EncryptionPurpose): Buffer {
  return Buffer.from(`purser/v2/${purpose}`, 'utf8');
}

/**
 * HKDF info of a Fernet key. Fernet has no associated data, so the key itself is bound to the place;
 * hashed because HKDF's info is limited to 1024 bytes and a tenant id is not.
 */
export function fernetKeyInfo(context: EncryptionContext): Buffer {
  const { purpose, tenantId, column } = context;
  const place = lengthPrefixed(['purser/fernet', purpose, tenantId, column]);
  return createHash('sha256').update(place).digest();
}

/**
 * Each part's UTF-8 after its length as 32-bit big-endian: no two lists of parts give the same
 * bytes, as plain joining would (`a` + `bc` and `ab` + `c`).
 */
export function lengthPrefixed(parts: readonly string[]): Buffer {
  return Buffer.concat(
    parts.flatMap((part) => {
      const bytes = Buffer.from(part, 'utf8');
      const length = Buffer.alloc(4);
      length.writeUInt32BE(bytes.length);
      return [length, bytes];
    }),
  );
}

function contextInvalid(fault: string): PurserError {
  return new PurserError('encryption_context_invalid', `encryption context: ${fault}`);
}
