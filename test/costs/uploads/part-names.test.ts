import { expect, it } from 'vitest';
import { positionInName } from '../../../src/costs/uploads/part-names.ts';

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
