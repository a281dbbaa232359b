/** An item of the go-live checklist: how to check it by hand, and how this command measures it. */
import type { Config } from '../../../config.ts';
import type { Queryable } from '../../../db/connect.ts';

export interface Measurement {
  readonly seen: string;
  /** undefined: not measured; the operator has to run the item's command. */
  readonly met: boolean | undefined;
}

/** What an item is measured on. */
export interface Deployment {
  readonly config: Config;
  /** undefined without DATABASE_URL. */
  readonly sql: Queryable | undefined;
}

export interface ItemDefinition {
  readonly section: string;
  readonly item: string;
  readonly command: string;
  readonly expected: string;
  readonly measure: (deployment: Deployment) => Measurement | Promise<Measurement>;
}

/** A measured item. */
export type ChecklistItem = Omit<ItemDefinition, 'measure'> & Measurement;
