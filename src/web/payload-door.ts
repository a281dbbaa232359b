/** What the web role checks the payloads of jobs by. */
import type { Tx } from '../db/connect.ts';
import type { PayloadEdit } from '../operations/batches/edit-payload.ts';

export interface PayloadDoor {
  /**
   * The payload of a new job as it is stored. Throws `invalid_payload` where this process has the handler and its schema
   * refuses it, and what sealing its secret fields throws.
   */
  prepare(place: { tenantId: string; jobType: string }, payload: object): Promise<object>;
  /** What edited payloads of a job type are checked by, in this transaction. */
  schemaOf(tx: Tx): PayloadEdit['schemaOf'];
}
