/**
 * Splits a body of the type text/event-stream into the data of its events, in bounded memory.
 * html.spec.whatwg.org, section 9.2.6.
 */
import { BodyTooLarge } from '../provider-body.ts';

/** Of one event, in UTF-16 units. No event of text or of a tool's arguments has as much. */
const maxEventLength = 1024 * 1024;

export class ServerEvents {
  readonly #decoder = new TextDecoder();
  /** The beginning of a line that has not ended. */
  #line = '';
  #data: string[] = [];
  #dataLength = 0;
  #endsInReturn = false;

  /** The data of the events that end in `chunk`. Throws `BodyTooLarge`. */
  push(chunk: Uint8Array): string[] {
    return this.#split(this.#decoder.decode(chunk, { stream: true }));
  }

  /** Of a body that ended in order: its last event may lack the blank line. */
  end(): string[] {
    return this.#split(`${this.#decoder.decode()}\n\n`);
  }

  #split(text: string): string[] {
    // The two halves of a line end can be in two chunks.
    const from = this.#endsInReturn && text.startsWith('\n') ? 1 : 0;
    if (text !== '') this.#endsInReturn = text.endsWith('\r');
    const lines = text.slice(from).split(/\r\n|\n|\r/);
    const rest = lines.pop() ?? '';
    const events: string[] = [];
    for (const line of lines) {
      const whole = this.#line + line;
      this.#line = '';
      if (whole === '') events.push(...this.#take());
      else this.#read(whole);
    }
    this.#line += rest;
    if (this.#line.length + this.#dataLength > maxEventLength) throw new BodyTooLarge();
    return events;
  }

  #read(line: string): void {
    const found = /^data(?:: ?([\s\S]*))?$/.exec(line);
    if (found === null) return;
    const data = found[1] ?? '';
    this.#data.push(data);
    this.#dataLength += data.length;
    if (this.#dataLength > maxEventLength) throw new BodyTooLarge();
  }

  #take(): string[] {
    if (this.#data.length === 0) return [];
    const data = this.#data.join('\n');
    this.#data = [];
    this.#dataLength = 0;
    return [data];
  }
}
