/**
 * A transaction's function, or that of a savepoint: what the handler made in it, and the first error of its
 * statements. What it made and left behind would be lost although the transaction commits, so it fails the transaction.
 */
import { notAwaited } from './faults.ts';
import type { DriverQuery } from './statement.ts';

const statementText =
  /^(?:\s|--[^\n]*\n|\/\*[^]*?\*\/|\()*(?:select|insert|update|delete|merge|with|values|call|do|copy|table|truncate|lock|notify|set|create|alter|drop|grant|revoke|comment|refresh|explain)\b/i;
const quotedLength = 80;

export class Scope {
  /** Kept also when the handler ignores it. */
  error: unknown;
  /** While a savepoint is open, its statements would undo, or be undone with, those of this scope. */
  isInSavepoint = false;
  /** The driver sends a query when it is awaited, or takes it for a part of another one. */
  readonly #unsent = new Set<DriverQuery>();

  made(query: DriverQuery): void {
    const [text] = query.strings;
    if (text === undefined || statementText.test(text)) this.#unsent.add(query);
  }

  sent(query: DriverQuery): void {
    this.#unsent.delete(query);
  }

  /** Throws where `fn` has returned and left something behind. */
  assertEnded(): void {
    if (this.isInSavepoint) {
      throw notAwaited('a savepoint was still open when the function around it returned');
    }
    for (const query of this.#unsent) {
      if (query.fragment === true || query.executed) continue;
      const text = query.strings.join(' ... ').trim().replaceAll(/\s+/g, ' ');
      const quoted = text.length > quotedLength ? `${text.slice(0, quotedLength)}...` : text;
      throw notAwaited(`a statement was made and never sent: ${quoted}`);
    }
  }
}
