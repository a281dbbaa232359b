import { expect, it } from 'vitest';
import { faultOfPartNames, positionInName } from '../../../src/costs/uploads/part-names.ts';

it.each([
  ['focus_part_1_of_2.csv', { part: 1, total: 2 }],
  ['focus-2of3.csv.gz', { part: 2, total: 3 }],
  ['costs (2 of 3).csv', { part: 2, total: 3 }],
  ['part_1_0001.csv', { part: 2, total: undefined }],
  ['costs-part-2.csv', { part: 2, total: undefined }],
  ['hourly-00002.csv.gz', { part: 2, total: undefined }],
  ['export000000000001.csv', { part: 2, total: undefined }],
])('%s is the name of a part', (name, position) => {
  expect(positionInName(name)).toEqual(position);
});

it.each([
  'focus.csv',
  'focus_part_1_of_1.csv',
  'hourly-00001.csv.gz',
  'part_0_0001.csv',
  'export000000000000.csv',
  'focus-2024-09.csv',
  'focus-20240902.csv',
  'focus-202409.csv',
  'department2.csv',
  'spart2.csv',
  'proof2.csv',
  'costs (2).csv',
])('%s may be the name of a whole export', (name) => {
  expect(positionInName(name)).toBeUndefined();
});

it.each([
  [['x-00001.csv', 'x-00003.csv'], /^part 2 is missing/],
  [['x-00002.csv', 'x-00003.csv'], /^part 1 is missing/],
  [['x_1_of_9.csv', 'x_9_of_9.csv'], /^parts 2, 3, 4, 5, 6, \.\.\. of 9 are missing/],
  [['x-00001.csv', 'x-90000.csv'], /^parts 2, 3, 4, 5, 6, \.\.\. are missing/],
  [
    ['a_part_1_of_2.csv', 'b_part_2_of_3.csv'],
    /^a_part_1_of_2\.csv and b_part_2_of_3\.csv are not parts of one export/,
  ],
  [
    ['sep_part_1_of_2.csv', 'oct_part_2_of_2.csv'],
    /^sep_part_1_of_2\.csv and oct_part_2_of_2\.csv are not parts of one/,
  ],
  [['sep-00001.csv', 'oct-00002.csv'], /are not parts of one export/],
  [
    ['a_1_of_2.csv', 'a_2_of_2.csv', 'notes.csv'],
    /^a_1_of_2\.csv and notes\.csv are not parts of one export/,
  ],
  [
    ['a_1_of_2.csv', 'a_2_of_2.csv', 'a_2_of_2.csv.gz'],
    /^a_2_of_2\.csv\.gz is part 2 like a_2_of_2\.csv/,
  ],
])('%j are not one export', (names, fault) => {
  expect(faultOfPartNames(names)).toMatch(fault);
});

it.each([
  [['x_part_1_of_2.csv', 'x_part_2_of_2.csv.gz']],
  [['x-00001.csv.gz', 'x-00002.csv.gz', 'x-00003.csv.gz']],
  [['part-00000-8f.csv', 'part-00001-8f.csv', 'part-00002-8f.csv']],
  [['part_0_0001.csv', 'part_1_0001.csv']],
  [['x000000000000.csv', 'x000000000001.csv', 'x000000000002.csv']],
  [['x (1 of 2).csv', 'x (2 of 2).csv']],
  [['january.csv', 'february.csv']],
  [['costs-9.csv', 'costs-11.csv']],
  [['eu-00001.csv', 'us-00001.csv']],
])('%j may be one export', (names) => {
  expect(faultOfPartNames(names)).toBeUndefined();
});
