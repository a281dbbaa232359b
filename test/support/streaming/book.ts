/** What a provider on the loopback interface knows of its requests. */
import type { WireProtocol, WireUsage } from '../provider-protocols.ts';

/** An entry of its book: one request that it would bill, whatever became of the answer. */
export interface BookEntry {
  readonly protocol: WireProtocol;
  readonly model: string;
  readonly usage: WireUsage;
  readonly at: Date;
  /** Of the request, where the client sent one. */
  readonly clientRequestId: string | undefined;
  /** Its own. */
  readonly requestId: string;
  /** The request as it came. */
  readonly text: string;
}
