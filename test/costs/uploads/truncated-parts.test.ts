/** A part that ends inside a quote must not swallow the rows of the next one. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { uploadByTenantColumn } from '../../../src/costs/uploads/tenants.ts';
import { noJob, openBench } from '../../handlers/handler-bench.ts';
import type { HandlerBench } from '../../handlers/handler-bench.ts';
import { focusFile } from '../exports/focus/file.ts';

let bench: HandlerBench;
let tenantId: string;
beforeAll(async () => {
  bench = await openBench();
  tenantId = await bench.addTenant();
});
afterAll(() => bench.close());

const open = '"a text that is cut';
/** Three rows, of which the last is cut inside a quote. */
const cut = (): string => {
  const text = focusFile([{}, {}, { ChargeDescription: open }]);
  return text.slice(0, text.indexOf(open) + open.length);
};
/** Closes the quote of the part before it. */
const closing = focusFile([{}, { ChargeDescription: '"x"' }, {}]);

const files = (first: string) =>
  Promise.all([
    bench.file('e-1.csv', first),
    bench.file('e-2.csv', focusFile([])),
    bench.file('e-3.csv', closing),
  ]);
const refused = {
  code: 'export_parts',
  message: expect.stringMatching(/^e-1\.csv ends inside a quote.*its line 4;.*export it again$/),
};

describe.each([
  ['without a line end', cut],
  ['with a line end', () => `${cut()}\n`],
  ['after lines of the same text', () => `${cut()}\nmore\n\n`],
])('a part cut inside a quote %s', (_, first) => {
  it('is refused with its line, for one tenant', async () => {
    await expect(bench.ingest(tenantId, await files(first()))).rejects.toMatchObject(refused);
    expect(await bench.test.sql`select from cost_records`).toEqual([]);
  });

  it('is refused with its line, for many tenants', async () => {
    const request = {
      database: bench.database,
      path: await files(first()),
      column: 'BillingAccountId',
      ensureTenant: async (_: unknown, id: string) => {
        await bench.addTenant(id);
      },
      onReady: noJob,
    };
    await expect(uploadByTenantColumn(request)).rejects.toMatchObject(refused);
  });
});

it('a quoted text with line breaks at the end of a part is whole', async () => {
  const whole = focusFile([{ ChargeDescription: '"ends\nhere\n"', Tags: '"{\n}"' }]);
  const paths = [
    await bench.file('w-1.csv', whole),
    await bench.file('w-2.csv', focusFile([{ BilledCost: '2' }])),
  ];
  expect(await bench.ingest(tenantId, paths)).toMatchObject({ rows: 2, errors: 0 });
});

it('a quote that never closes is named with the line of its part', async () => {
  const paths = [
    await bench.file('n-1.csv', focusFile([{}, {}])),
    await bench.file('n-2.csv', focusFile([{ BilledCost: '2' }, { Tags: '"open' }])),
  ];
  await expect(bench.ingest(tenantId, paths)).rejects.toMatchObject({
    code: 'csv_unterminated_quote',
    message: expect.stringMatching(/^n-2\.csv: line 3: a quote in the record that starts here/),
    details: { class: 'fatal', line: 3 },
  });
});
