/** The pages of money: what was spent, and budgets. */
import { Hono } from 'hono';
import type { Sql } from '../../../db/connect.ts';
import type { WebEnv } from '../../web-env.ts';
import { createBudgets } from './budgets-routes.tsx';
import { createMoney } from './money-routes.tsx';

export function createMoneyPages(options: { readonly sql: Sql }): Hono<WebEnv> {
  const app = new Hono<WebEnv>();
  for (const create of [createMoney, createBudgets]) app.route('/', create(options));
  return app;
}
