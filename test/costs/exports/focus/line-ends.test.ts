/** A line end that is missing or a carriage return alone must not hide rows; where it hides none, the row is read. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { uploadByTenantColumn } from '../../../../src/costs/uploads/tenants.ts';
import { noJob, openBench, storedFaults } from '../../../handlers/handler-bench.ts';
import type { HandlerBench } from '../../../handlers/handler-bench.ts';
import { focusFile, focusFileWith, focusHeader, focusRow } from './file.ts';

let bench: HandlerBench;
beforeAll(async () => {
  bench = await openBench();
});
afterAll(() => bench.close());

const name = 'ends.csv';
const width = focusHeader.length;
const plain = (): string[] =>
  focusFile(Array.from({ length: 1000 }, () => ({ BillingAccountId: '123456789012' })))
    .trimEnd()
    .split('\n');
const quoted = (): string[] =>
  plain().map((line, index) => (index === 0 ? line : `"${line.replaceAll(',', '","')}"`));

/** The lines with another end behind those of these numbers. */
function withEnds(lines: readonly string[], end: string, from: number, to = from): string {
  return lines
    .map((line, index) => line + (index + 1 >= from && index + 1 <= to ? end : '\n'))
    .join('');
}

const refused = (line: number, reason: RegExp) => ({
  code: 'csv_line_ends',
  message: expect.stringMatching(
    new RegExp(`^${name.replace('.', '\\.')}: line ${line}[ :].*${reason.source}`),
  ),
  details: { class: 'fatal', line },
});
const alone = /carriage return.*LF or CRLF/;
const missing = /most likely line breaks are missing.*export it again/;

const crlf = plain().map((line) => `${line}\r`);

describe('rows that end', () => {
  it.each([
    ['with a carriage return, 500 of them', withEnds(plain(), '\r', 201, 700), 201, alone],
    ['with a carriage return, one', withEnds(plain(), '\r', 201), 201, alone],
    ['with a carriage return, quoted', withEnds(quoted(), '\r', 201), 201, alone],
    ['with a carriage return, the last ones', withEnds(plain(), '\r', 990, 1001), 990, alone],
    ['with a carriage return in a CRLF file', withEnds(crlf, '', 201), 201, alone],
    ['with nothing', withEnds(plain(), '', 201), 201, missing],
    ['with nothing, quoted', withEnds(quoted(), '', 201), 201, missing],
    ['with a space', withEnds(plain(), ' ', 201), 201, missing],
    ['with U+2028', withEnds(plain(), '\u2028', 201, 700), 201, missing],
    ['with a comma', withEnds(plain(), ',', 201), 201, missing],
    [
      'with a carriage return before a row that is cut',
      withEnds(plain(), '\r', 201).replace(/\r[^\n]*/, '\ra,b'),
      201,
      alone,
    ],
  ])('%s refuse the file with the line', async (_, text, line, reason) => {
    const tenantId = await bench.addTenant();
    const path = await bench.file(name, text);
    const error: unknown = await bench.ingest(tenantId, path).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject(refused(line, reason));
    expect(
      await bench.test.sql`select from cost_records where tenant_id = ${tenantId}`,
    ).toHaveLength(0);
  });

  it.each([
    ['neighbouring rows', 202],
    ['rows with a row between them', 203],
  ])('with a carriage return inside of stray quotes refuse the file, in %s', async (_, to) => {
    const tenantId = await bench.addTenant();
    const lines = plain().map((line, index) => {
      if (index + 1 === 201) return line.replace('NULL', '"r');
      return index + 1 === to ? line.replace('NULL', 'r"') : line;
    });
    const path = await bench.file(name, withEnds(lines, '\r', 201, to - 1));
    await expect(bench.ingest(tenantId, path)).rejects.toMatchObject({
      code: 'csv_unterminated_quote',
      details: { line: 201 },
    });
  });

  it.each([
    ['a carriage return', '\r', alone],
    ['nothing', '', missing],
  ])('with %s refuse an export of many tenants for all', async (_, end, reason) => {
    const tenantId = await bench.addTenant();
    const rows = Array.from({ length: 8 }, () => ({ SubAccountId: tenantId }));
    const lines = focusFileWith(['SubAccountId'], rows).trimEnd().split('\n');
    const request = {
      database: bench.database,
      path: await bench.file(name, withEnds(lines, end, 5)),
      column: 'SubAccountId',
      ensureTenant: () => Promise.resolve(),
      onReady: noJob,
    };
    await expect(uploadByTenantColumn(request)).rejects.toMatchObject(refused(5, reason));
    const states = await bench.test.sql`
      select state from ingest_uploads where tenant_id = ${tenantId}`;
    expect([...states]).toEqual([{ state: 'failed' }]);
  });

  it('with a carriage return in a part of an export are named with the line of the part', async () => {
    const tenantId = await bench.addTenant();
    const first = await bench.file('p-1.csv', focusFile([{}, {}]));
    const second = await bench.file('p-2.csv', withEnds(plain(), '\r', 201));
    await expect(bench.ingest(tenantId, [first, second])).rejects.toMatchObject({
      code: 'csv_line_ends',
      message: expect.stringMatching(/^p-2\.csv: line 201:/),
      details: { line: 201 },
    });
  });
});

describe('a row that cannot hold two rows', () => {
  it.each([
    ['with two fields too many', `${focusRow()},x,y`, width + 2],
    ['cut', focusRow().split(',').slice(0, 5).join(','), 5],
  ])('%s is left out alone', async (_, faulty, fields) => {
    const tenantId = await bench.addTenant();
    const lines = [focusHeader.join(','), focusRow(), faulty, focusRow()];
    const path = await bench.file(name, lines.join('\n'));
    expect(await bench.ingest(tenantId, path)).toMatchObject({ rows: 2, errors: 1 });
    expect(await storedFaults(bench, tenantId)).toEqual([
      { line: 3, column_name: null, reason: `${fields} fields where the header has ${width}` },
    ]);
  });

  it.each([
    ['quoted', '"a\rb"'],
    ['quoted, of many lines', '"a, b\rc, d\r\re"'],
    ['not quoted', 'a\rb'],
  ])('keeps a carriage return in a text, %s', async (_, text) => {
    const tenantId = await bench.addTenant();
    const path = await bench.file(name, focusFile([{}, { ChargeDescription: text }, {}]));
    expect(await bench.ingest(tenantId, path)).toMatchObject({ rows: 3, errors: 0 });
    const rows = await bench.test.sql`
      select charge_description as text from cost_records
      where tenant_id = ${tenantId} and line = 3`;
    expect([...rows]).toEqual([{ text: text.replaceAll('"', '') }]);
  });

  it('may end with CR CR LF, as a program writes that adds a CR to a CRLF', async () => {
    const tenantId = await bench.addTenant();
    const text = focusFileWith(['ListCost'], [{ ListCost: '2.5' }, { ListCost: '"2.5"' }]);
    const path = await bench.file(name, text.replaceAll('\n', '\r\r\n'));
    expect(await bench.ingest(tenantId, path)).toMatchObject({ rows: 2, errors: 0, warnings: 0 });
    const rows = await bench.test.sql`
      select list_cost, line::int from cost_records where tenant_id = ${tenantId} order by line`;
    expect([...rows]).toEqual([
      { list_cost: '2.5', line: 2 },
      { list_cost: '2.5', line: 3 },
    ]);
  });
});
