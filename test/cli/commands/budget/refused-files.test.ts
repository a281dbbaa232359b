/** Files and options that `purser budget reconcile` refuses, with what it says. */
import { describe, expect, it } from 'vitest';
import { useFolder } from '../../../budget/reconcile/bench.ts';
import { openProviderFile } from '../../../../src/cli/commands/budget/provider-file.ts';
import { useCliDatabase } from '../../cli-database.ts';

const cli = useCliDatabase();
const folder = useFolder();
const header = 'client_request_id,cost_usd,timestamp';

async function reconciled(content: string | Buffer, ...args: string[]) {
  const path = await folder.write('costs.csv', content);
  const provider = args.includes('--provider') ? [] : ['--provider', 'openai'];
  return cli.invoke('budget', 'reconcile', ...provider, '--file', path, ...args);
}

describe('a file or option that is refused', () => {
  const bytes = (...parts: (string | number[])[]) =>
    Buffer.concat(
      parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : Buffer.from(part))),
    );
  const costs = 'start_time,amount_value,amount_currency\n';
  it.each<[string, string | Buffer, string[], number, string]>([
    [
      'an unknown provider',
      costs,
      ['--provider', 'acme'],
      64,
      'there is no provider "acme"; use openai, anthropic, google',
    ],
    [
      'another provider',
      costs,
      ['--provider', 'google'],
      1,
      'this is a file of openai (openai-costs); use --provider openai',
    ],
    ['an empty file', '', [], 1, 'costs.csv: the file is empty'],
    ['a header without rows', costs, [], 1, 'the file has a header and no row'],
    [
      'wrong columns',
      'day,total\n1,2\n',
      [],
      1,
      'begins with the columns day, total, and has not those of a file of openai',
    ],
    [
      'a column twice',
      'start_time,Start_Time,amount_value\n',
      [],
      1,
      'the column start_time appears twice',
    ],
    [
      'a cell that is not UTF-8',
      bytes(costs, '2026-11-10,', [0xff, 0xfe], ',usd\n'),
      [],
      1,
      'line 2, amount_value: the field is not UTF-8',
    ],
    [
      'UTF-16',
      bytes([0xff, 0xfe], Buffer.from(costs, 'utf16le').toString('latin1')),
      [],
      1,
      'UTF-16',
    ],
    ['JSON that is not UTF-8', bytes('[{"a":"', [0xff], '"}]'), [], 1, 'the file is not UTF-8'],
    [
      'a workbook',
      bytes('PK\u0003\u0004', '[Content_Types].xml', 'x'.repeat(100)),
      [],
      1,
      'an Excel workbook',
    ],
    ['broken JSON', '{"data": [', [], 1, 'this is not JSON'],
    ['a broken line of JSON', '{"a":1}\n{"a":\n', [], 1, 'line 2: this is not JSON'],
    ['JSON without rows', '[]', [], 1, 'the JSON has no row'],
    ['a short row', `${costs}2026-11-10,1\n`, [], 1, 'line 2 has 2 fields where the header has 3'],
    [
      'an open quote',
      `${costs}2026-11-10,"1,usd\n`,
      [],
      1,
      'a quote in the record that starts here never closes',
    ],
    [
      'no number',
      `${costs}2026-11-10,"1,5",usd\n`,
      [],
      1,
      'line 2, amount_value: "1,5" is not an amount in USD',
    ],
    ['10^9 USD', `${costs}2026-11-10,1e9,usd\n`, [], 1, 'is not an amount in USD below 10^9'],
    [
      'another currency',
      `${costs}2026-11-10,1,eur\n`,
      [],
      1,
      'line 2: the costs are in eur, and the ledger is in USD',
    ],
    ['no time', `${costs}tomorrow,1,usd\n`, [], 1, 'line 2, start_time: "tomorrow" is not a time'],
    ['no day', `${costs},1,usd\n`, [], 1, 'line 2, start_time: no value'],
    [
      'a week',
      'start_time,end_time,amount_value\n2026-11-01,2026-11-08,1\n',
      [],
      1,
      'is not of one UTC day',
    ],
    [
      'a negative call',
      `${header}\nx,-0.5,\n`,
      [],
      1,
      'line 2, cost_usd: a call costs no negative amount',
    ],
    ['a call without cost', `${header}\nx,,\n`, [], 1, 'line 2, cost_usd: no value'],
    [
      'half a token',
      'request_id,cost,prompt_tokens\nx,1,0.5\n',
      [],
      1,
      'line 2, prompt_tokens: "0.5" is not a whole number',
    ],
    [
      'one id, two costs',
      'request_id,cost\nx,1\nx,2\n',
      [],
      1,
      'line 3 has the request id of line 2, and another cost',
    ],
    [
      'a rounding of nothing',
      costs,
      ['--rounding', '0'],
      64,
      '--rounding must be an amount in USD above zero',
    ],
    [
      'a day that is none',
      costs,
      ['--from', '2026-11-31x'],
      64,
      '--from must be a day or a time of UTC',
    ],
    [
      'a range of nothing',
      costs,
      ['--from', '2026-11-02', '--to', '2026-11-01'],
      64,
      'the range ends before it begins',
    ],
    ['--apply without a reason', costs, ['--apply'], 64, '--apply needs --reason TEXT'],
    [
      'a project that the file has not',
      `${costs}2026-11-10,1,usd\n`,
      ['--project', 'p'],
      1,
      'no row of the file can be compared: 1 rows of other projects',
    ],
  ])('%s', async (_, content, args, code, says) => {
    const refused = await reconciled(content, ...args);
    expect([refused.code, refused.err]).toEqual([code, expect.stringContaining(says)]);
    expect(refused.out).toBe('');
  });

  it('a folder, and a file that is not there', async () => {
    for (const [path, says] of [
      ['/', 'is a folder; name a file'],
      ['/no/such.csv', 'cannot be opened (ENOENT)'],
    ] as const) {
      const { code, err } = await cli.invoke(
        'budget',
        'reconcile',
        '--provider',
        'openai',
        '--file',
        path,
      );
      expect([code, err]).toEqual([1, expect.stringContaining(says)]);
    }
  });

  it('more bytes than its bound: of a CSV while it is read, of JSON before', async () => {
    const rows = Array.from({ length: 40_000 }, () => '2026-11-10,0.000001,usd').join('\n');
    const csv = await folder.write('large.csv', `${costs}${rows}\n`);
    const file = await openProviderFile(csv, { maxBytes: 500_000 });
    const read = async () => {
      let count = 0;
      for await (const row of file.rows) count += row.line > 0 ? 1 : 0;
      return count;
    };
    await expect(read()).rejects.toMatchObject({ code: 'file_too_large' });
    const json = await folder.write('large.json', JSON.stringify([{ a: 'x'.repeat(300_000) }]));
    await expect(openProviderFile(json, { maxJsonBytes: 1_000 })).rejects.toMatchObject({
      code: 'file_too_large',
    });
  });
});
