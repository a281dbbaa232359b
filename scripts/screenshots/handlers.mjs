/** Job types of a made-up product, some of whose jobs fail, for the screenshots. */
const failure = (message, fields) => Object.assign(new Error(message), fields);

/** By the number of the invoice, so that every run of the script shows the same. */
const faults = [
  (number) => failure(`invoice ${number}: the archive answers 503`, { status: 503 }),
  (number) => failure(`invoice ${number} has no recipient`, { code: 'no_recipient' }),
  () => failure('the archive refuses this account', { status: 403 }),
  (number) => failure(`"${number}" is no rate of the exchange`, { code: 'rate_missing' }),
];

const usual = { timeoutMs: 10_000, maxAttempts: 1, onBudget: 'park', giveUpAfterMs: 86_400_000 };

export const handlers = [
  {
    ...usual,
    type: 'send_invoice',
    run: ({ payload: { invoice, fault } }) => {
      if (fault !== undefined) throw faults[fault](invoice);
      return { sent: invoice };
    },
  },
  { ...usual, type: 'sync_ledger', run: () => ({ synced: true }) },
  { ...usual, type: 'answer_ticket', run: () => ({ answered: true }) },
  { ...usual, type: 'write_digest', run: () => ({ written: true }) },
];
