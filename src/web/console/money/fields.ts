/** Fields of the pages of money: months, amounts, and what sums are grouped by. */
import { z } from 'zod';
import type { SpendKey } from '../../../budget/spend/read.ts';

/** `2026-11`; read as the first day of that month. */
export const monthField = () =>
  z
    .union([
      z.literal('').transform(() => undefined),
      z
        .string()
        .regex(/^[1-9]\d{3}-(0[1-9]|1[0-2])$/, 'takes a month such as 2026-11')
        .transform((month) => `${month}-01`),
    ])
    .optional();

export const usdField = () =>
  z
    .string({ error: 'is needed: US dollars, e.g. 25.00' })
    .regex(/^\d{1,9}(\.\d{1,9})?$/, 'takes US dollars with at most 9 decimals, e.g. 25.00');

/** By the word in the address. */
export const groupings = {
  tenant: ['tenantId'],
  type: ['jobType'],
  model: ['provider', 'model'],
  key: ['providerKey'],
  day: ['day'],
  tenant_and_type: ['tenantId', 'jobType'],
  tenant_and_model: ['tenantId', 'provider', 'model'],
  tenant_and_day: ['tenantId', 'day'],
  type_and_model: ['jobType', 'provider', 'model'],
  model_and_day: ['provider', 'model', 'day'],
  tenant_type_and_model: ['tenantId', 'jobType', 'provider', 'model'],
  tenant_type_model_and_day: ['tenantId', 'jobType', 'provider', 'model', 'day'],
} as const satisfies Readonly<Record<string, readonly SpendKey[]>>;

export type Grouping = keyof typeof groupings;

export const groupingNames: readonly [Grouping, ...Grouping[]] = [
  'tenant',
  'type',
  'model',
  'key',
  'day',
  'tenant_and_type',
  'tenant_and_model',
  'tenant_and_day',
  'type_and_model',
  'model_and_day',
  'tenant_type_and_model',
  'tenant_type_model_and_day',
];
