/** Lists at a terminal: how tables are narrowed, and what a list says about the rows that it leaves out. */
import { describe, expect, it } from 'vitest';
import { cutText, printList, sinceOf } from '../../../src/cli/terminal/cut-list.ts';
import type { Invocation } from '../../../src/cli/terminal/command.ts';
import { formatTable } from '../../../src/cli/terminal/table.ts';
import { textWidth } from '../../../src/cli/terminal/text-width.ts';

const sentence = 'the provider answered 503 for the third time in a row and gave no reason';

describe('a table', () => {
  const rows = [
    ['1234567890', 'acme', sentence],
    ['9', 'globex', 'short'],
  ];
  const head = ['job', 'tenant', 'message'];

  it('keeps its cells where stdout is no terminal', () => {
    expect(formatTable(head, rows, 100, undefined)).toContain(sentence);
  });

  it('narrows sentences to the width of the terminal, and neither names nor numbers', () => {
    const lines = formatTable(head, rows, 100, 60).split('\n');
    expect(Math.max(...lines.map(textWidth))).toBe(60);
    expect(lines[2]).toMatch(/^1234567890 {2}acme {4}the provider .*…$/);
    expect(lines[3]).toBe('9           globex  short');
  });

  it('prints a block of lines per row where its names alone are wider than the terminal', () => {
    const text = formatTable(head, [['1'.repeat(30), 'a'.repeat(30), sentence]], 100, 50);
    expect(text.split('\n')).toEqual([
      `job      ${'1'.repeat(30)}`,
      `tenant   ${'a'.repeat(30)}`,
      expect.stringMatching(/^message {2}the provider .*…$/),
    ]);
    expect(Math.max(...text.split('\n').map(textWidth))).toBe(50);
  });

  it('leaves out empty columns, then seconds and years of its times, before it prints blocks', () => {
    const at = new Date('2026-11-30T17:28:45Z');
    const id = '1'.repeat(20);
    const list = (width: number) =>
      formatTable(['job', 'error', 'at'], [[id, null, at]], 60, width);
    const row = (width: number) => list(width).split('\n')[2];
    expect(row(49)).toBe(`${id}  -      2026-11-30T17:28:45Z`);
    expect(row(48)).toBe(`${id}  2026-11-30T17:28:45Z`);
    expect(row(41)).toBe(`${id}  2026-11-30T17:28Z`);
    expect(row(34)).toBe(`${id}  11-30T17:28Z`);
    expect(row(33)).toBe(`${id} 11-30T17:28Z`);
    expect(list(32)).toBe(`job    ${id}\nerror  -\nat     2026-11-30T17:28:45Z`);
  });

  it('counts wide characters as two cells, and cuts between characters as people see them', () => {
    expect(textWidth('東京 é')).toBe(6);
    const [, , line] = formatTable(['note'], [['👩‍👩‍👧 東京 and more']], 8, undefined).split('\n');
    expect(line).toBe('👩‍👩‍👧 東京…');
  });
});

function invocationOf(given: Readonly<Record<string, string | true>>) {
  const out: string[] = [];
  const notes: string[] = [];
  const value = (name: string) => (typeof given[name] === 'string' ? given[name] : undefined);
  const invocation: Invocation = {
    positionals: [],
    value,
    values: () => [],
    required: (name) => value(name) ?? '',
    flag: (name) => given[name] === true,
    config: () => {
      throw new Error('no list reads the configuration here');
    },
    input: () => process.stdin,
    print: (line) => void out.push(line),
    note: (line) => void notes.push(line),
    interactive: false,
  };
  return { invocation, out, notes };
}

describe('a list', () => {
  const rows = Array.from({ length: 404 }, (_, index) => ({ id: `t${index}` }));
  const table = { what: 'tenants', head: ['tenant'], cells: (row: { id: string }) => [row.id] };

  it.each([
    [{}, 50, ['50 of 404 tenants; more with --limit']],
    [{ limit: '100' }, 100, ['100 of 404 tenants; more with --limit']],
    [{ limit: '404' }, 404, []],
    [{ limit: '9000' }, 404, []],
  ])('with %j shows %i rows and notes %j', (given, shown, notes) => {
    const run = invocationOf(given);
    printList(run.invocation, rows, table);
    expect(run.out.join('\n').split('\n')).toHaveLength(shown + 2);
    expect(run.notes).toEqual(notes);
  });

  it('prints every row as JSON, or notes on stderr what --limit left out', () => {
    const all = invocationOf({ json: true });
    printList(all.invocation, rows, table);
    expect(JSON.parse(all.out.join(''))).toHaveLength(404);
    expect(all.notes).toEqual([]);
    const cut = invocationOf({ json: true, limit: '3' });
    printList(cut.invocation, rows, table);
    expect(JSON.parse(cut.out.join(''))).toEqual(rows.slice(0, 3));
    expect(cut.notes).toEqual(['3 of 404 tenants; more with --limit']);
  });

  it('takes an age or a time as --since, and names the forms otherwise', () => {
    const now = new Date('2026-12-02T12:00:00Z');
    const since = (text: string) => sinceOf(invocationOf({ since: text }).invocation, now);
    expect(since('36h')).toEqual(new Date('2026-12-01T00:00:00Z'));
    expect(since('2026-12-01')).toEqual(new Date('2026-12-01T00:00:00Z'));
    expect(since('2026-12-01T08:00:00+02:00')).toEqual(new Date('2026-12-01T06:00:00Z'));
    for (const wrong of ['yesterday', '5', '5y', '2026-12-01T08:00:00', '-3h']) {
      expect(() => since(wrong)).toThrow(/--since must be an age such as 30m/);
    }
    expect(cutText(3, 3, 'jobs')).toBeUndefined();
  });
});
