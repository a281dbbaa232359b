/** The uploads into which an export of many tenants is split, one per tenant, each through a session of its tenant. */
import { closeOperatorToken, openOperatorToken, tenantSql } from '../../db/tenant.ts';
import { messageOf, PurserError } from '../../errors.ts';
import { abandonUploads, findSameUpload } from './uploads.ts';
import type { UploadRequest } from './uploads.ts';
import { openUpload } from './writer.ts';
import type { UploadHead, UploadWriter } from './writer.ts';

/** The upload of one tenant. */
export interface Destination {
  readonly tenantId: string;
  readonly uploadId: string;
  /** null: the tenant has this export already. */
  readonly writer: UploadWriter | null;
  readonly token: string;
  rows: number;
}

interface DestinationOptions {
  readonly database: UploadRequest['database'];
  readonly head: Omit<UploadHead, 'tenantId'>;
  /** A PurserError refuses the tenant. */
  readonly ensureTenant: (tenantId: string) => Promise<void>;
}

const maxBufferedBytes = 32 * 1024 * 1024;
const sessionTtlMs = 24 * 3_600_000;

export class Destinations {
  readonly #options: DestinationOptions;
  readonly #known = new Map<string, Destination | { readonly refused: string }>();
  /** First record of each upload. */
  #header: Buffer | undefined;
  #bufferedBytes = 0;

  constructor(options: DestinationOptions) {
    this.#options = options;
  }

  set header(bytes: Buffer) {
    this.#header = bytes;
  }

  get open(): readonly Destination[] {
    return [...this.#known.values()].filter((each) => 'uploadId' in each);
  }

  get writers(): UploadWriter[] {
    return this.open.flatMap(({ writer }) => (writer === null ? [] : [writer]));
  }

  /** The upload of a tenant, begun at its first row; `refused` says why it has none. */
  async of(tenantId: string): Promise<Destination | { readonly refused: string }> {
    const known = this.#known.get(tenantId);
    if (known !== undefined) return known;
    let found: Destination | { refused: string };
    try {
      await this.#options.ensureTenant(tenantId);
      found = await this.ofExisting(tenantId);
    } catch (error) {
      if (!(error instanceof PurserError)) throw error;
      found = { refused: error.message };
    }
    this.#known.set(tenantId, found);
    return found;
  }

  /** The upload of a tenant that exists. Throws `unknown_tenant`. */
  async ofExisting(tenantId: string): Promise<Destination> {
    const known = this.#known.get(tenantId);
    if (known !== undefined && 'uploadId' in known) return known;
    const { database, head } = this.#options;
    const token = await openOperatorToken(database.system, tenantId, sessionTtlMs);
    const sql = tenantSql(database.tenant, { token });
    const own = { ...head, tenantId };
    const same = await findSameUpload(sql, own);
    const writer = same === null ? await openUpload(sql, own) : null;
    const uploadId = writer?.uploadId ?? same ?? '';
    const destination: Destination = { tenantId, uploadId, writer, token, rows: 0 };
    this.#known.set(tenantId, destination);
    if (writer !== null && this.#header !== undefined) await writer.write(this.#header);
    return destination;
  }

  async write({ writer }: Destination, bytes: Buffer): Promise<void> {
    if (writer === null) return;
    const before = writer.bufferedBytes;
    await writer.write(bytes);
    this.#bufferedBytes += writer.bufferedBytes - before;
    if (this.#bufferedBytes > maxBufferedBytes) await this.flush();
  }

  async flush(): Promise<void> {
    for (const writer of this.writers) await writer.flush();
    this.#bufferedBytes = 0;
  }

  /** Marks the uploads that were begun as failed. */
  async abandon(error: unknown): Promise<void> {
    const begun = this.writers.map(({ uploadId }) => uploadId);
    await abandonUploads(this.#options.database.system, begun, messageOf(error));
  }

  /** Ends the sessions. */
  async close(): Promise<void> {
    const { system } = this.#options.database;
    for (const { token } of this.open) await closeOperatorToken(system, token);
  }
}
