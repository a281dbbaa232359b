/**
 * Parses one client's connection to Postgres, to drop the answer to a chosen statement: the server has executed (and
 * committed) it, and the client never receives the answer.
 */

/** Given a statement's text and that of the one before on its connection, whether its answer is to be lost. */
export type StatementTest = (statement: string, before: string) => boolean;

const sslRequest = 80877103;
const cancelRequest = 80877102;

/** Splits chunks into typed messages (one byte of type, four of length). */
class Messages {
  #rest = Buffer.alloc(0);

  *take(chunk: Buffer): Generator<{ type: string; body: Buffer; whole: Buffer }> {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    while (this.#rest.length >= 5) {
      const end = 1 + this.#rest.readInt32BE(1);
      if (this.#rest.length < end) return;
      const whole = this.#rest.subarray(0, end);
      this.#rest = this.#rest.subarray(end);
      yield { type: String.fromCharCode(whole[0] ?? 0), body: whole.subarray(5), whole };
    }
  }
}

/** The zero-terminated strings at the start of a message. */
function strings(body: Buffer, count: number): string[] {
  const found: string[] = [];
  for (let at = 0; found.length < count;) {
    const end = body.indexOf(0, at);
    if (end < 0) break;
    found.push(body.toString('utf8', at, end));
    at = end + 1;
  }
  return found;
}

export interface Delivery {
  /** Bytes that are forwarded to the client. */
  readonly forward: Buffer;
  /** The statement whose answer was just dropped: reset the connection now. */
  readonly lost: string | undefined;
}

export class PostgresLink {
  readonly #isWanted: StatementTest;
  readonly #client = new Messages();
  readonly #server = new Messages();
  readonly #statements = new Map<string, string>();
  readonly #portals = new Map<string, string>();
  #startup: Buffer | undefined = Buffer.alloc(0);
  #awaitsTlsByte = false;
  #isPlain = true;
  /** Answers (ReadyForQuery) that the server still owes, the one to its start-up included. */
  #owed = 1;
  #before = '';
  #matched: string | undefined;
  /** Of the answers owed, the one with this number is the one to lose. */
  #loseAt: number | undefined;

  constructor(isWanted: StatementTest) {
    this.#isWanted = isWanted;
  }

  /** Takes note of what the client says. */
  sent(chunk: Buffer): void {
    if (!this.#isPlain) return;
    let rest = chunk;
    if (this.#startup !== undefined) {
      const left = this.#readStartup(Buffer.concat([this.#startup, chunk]));
      if (left === undefined) return;
      rest = left;
    }
    for (const { type, body } of this.#client.take(rest)) this.#noteMessage(type, body);
  }

  /** What follows the start-up message; undefined while it is not complete. */
  #readStartup(bytes: Buffer): Buffer | undefined {
    this.#startup = bytes;
    if (bytes.length < 8 || bytes.length < bytes.readInt32BE(0)) return undefined;
    const code = bytes.readInt32BE(4);
    const left = bytes.subarray(bytes.readInt32BE(0));
    if (code === sslRequest) {
      this.#awaitsTlsByte = true;
      this.#startup = left;
      return undefined;
    }
    if (code === cancelRequest) this.#isPlain = false;
    this.#startup = undefined;
    return left;
  }

  #noteMessage(type: string, body: Buffer): void {
    if (type === 'P') {
      const [name = '', text = ''] = strings(body, 2);
      this.#statements.set(name, text);
    } else if (type === 'B') {
      const [portal = '', name = ''] = strings(body, 2);
      this.#portals.set(portal, this.#statements.get(name) ?? '');
    } else if (type === 'E') {
      this.#consider(this.#portals.get(strings(body, 1)[0] ?? '') ?? '');
    } else if (type === 'Q') {
      this.#consider(strings(body, 1)[0] ?? '');
    }
    if (type !== 'Q' && type !== 'S') return;
    this.#owed += 1;
    if (this.#matched !== undefined) this.#loseAt ??= this.#owed;
  }

  #consider(statement: string): void {
    if (this.#matched === undefined && this.#isWanted(statement, this.#before)) {
      this.#matched = statement;
    }
    this.#before = statement;
  }

  /** Decides what of the server's answer is forwarded to the client. */
  received(chunk: Buffer): Delivery {
    if (!this.#isPlain) return { forward: chunk, lost: undefined };
    let rest = chunk;
    const forward: Buffer[] = [];
    if (this.#awaitsTlsByte) {
      this.#awaitsTlsByte = false;
      this.#isPlain = rest[0] !== 'S'.charCodeAt(0);
      forward.push(rest.subarray(0, 1));
      rest = rest.subarray(1);
    }
    for (const { type, whole } of this.#server.take(rest)) {
      const loses = this.#loseAt === 1;
      if (type === 'Z') {
        if (loses) return { forward: Buffer.concat(forward), lost: this.#matched };
        this.#owed -= 1;
        if (this.#loseAt !== undefined) this.#loseAt -= 1;
      }
      if (!loses) forward.push(whole);
    }
    return { forward: Buffer.concat(forward), lost: undefined };
  }
}
