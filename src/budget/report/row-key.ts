/** What a row of the report is of. */
export interface RowKey {
  readonly tenantId: string;
  /** Empty where the job was deleted. */
  readonly jobType: string;
  /** Empty where the reservation was deleted with its tenant; of refusals, which name no model. */
  readonly provider: string;
  readonly model: string;
  /** Whose key paid: `platform`, or a name such as `own:openai`. */
  readonly providerKey: string;
  /** Paid with the tenant's own key, and part of no budget. */
  readonly countsApart: boolean;
}
