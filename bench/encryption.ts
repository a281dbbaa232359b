/**
 * The cost of encrypting and decrypting 1 KB with a derived key, compared with the checklist's limit of 100 ms, and
 * of the key derivation that a process does once per hour.
 */
import { pathToFileURL } from 'node:url';
import type { EncryptionContext } from '../src/crypto/context.ts';
import { generateKey } from '../src/crypto/derive.ts';
import { EncryptionKeyManager } from '../src/crypto/keyring.ts';
import { generateSalt } from '../src/crypto/salt.ts';

const LIMIT_US = 100_000;
const WARM_UP = 2_000;
const SAMPLES = 20_000;

export interface BenchRow {
  readonly operation: string;
  readonly medianUs: number;
  readonly p99Us: number;
  /** 100 ms (the checklist's limit) divided by the median; null where the limit does not apply. */
  readonly timesUnderLimit: number | null;
}

const context: EncryptionContext = {
  tenantId: 'bench',
  column: 'aws_accounts.credentials',
  purpose: 'api_key',
};

/** Measures encrypt and decrypt of 1,024 bytes, one call at a time, and the derivation before them. */
export async function run(): Promise<{ name: string; rows: BenchRow[] }> {
  const options = { primary: { version: 1, key: generateKey(), salt: generateSalt() } };
  const value = 'k'.repeat(1024);

  const derive = await sample(5, async () => {
    await new EncryptionKeyManager(options).encryptString('', context);
  });
  const manager = new EncryptionKeyManager(options);
  const { ciphertext } = await manager.encryptString(value, context);
  const encrypt = (): Promise<unknown> => manager.encryptString(value, context);
  const decrypt = (): Promise<unknown> => manager.decryptString(ciphertext, context);
  for (const operation of [encrypt, decrypt]) await sample(WARM_UP, operation);
  return {
    name: 'encryption',
    rows: [
      row('encrypt 1 KB', await sample(SAMPLES, encrypt)),
      row('decrypt 1 KB', await sample(SAMPLES, decrypt)),
      { ...row('derive a key (off the loop, once an hour)', derive), timesUnderLimit: null },
    ],
  };
}

async function sample(count: number, operation: () => Promise<unknown>): Promise<number[]> {
  const tookUs: number[] = [];
  for (let i = 0; i < count; i += 1) {
    const startedNs = process.hrtime.bigint();
    await operation();
    tookUs.push(Number(process.hrtime.bigint() - startedNs) / 1000);
  }
  return tookUs.toSorted((a, b) => a - b);
}

function row(operation: string, sortedUs: readonly number[]): BenchRow {
  const medianUs = sortedUs[Math.floor(sortedUs.length / 2)] ?? Number.NaN;
  const p99Us = sortedUs[Math.floor(sortedUs.length * 0.99)] ?? Number.NaN;
  return { operation, medianUs, p99Us, timesUnderLimit: LIMIT_US / medianUs };
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { name, rows } = await run();
  console.log(`${name}: checklist limit 100 ms per operation`);
  for (const { operation, medianUs, p99Us, timesUnderLimit } of rows) {
    const figures = `median ${medianUs.toFixed(1)} us, p99 ${p99Us.toFixed(1)} us`;
    const ratio =
      timesUnderLimit === null ? '' : `, ${timesUnderLimit.toFixed(0)}x under the limit`;
    console.log(`  ${operation}: ${figures}${ratio}`);
  }
}
