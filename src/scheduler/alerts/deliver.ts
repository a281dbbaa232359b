/** Delivers alerts of money to the operator's webhook: at least once, each with one id. */
import { endAlertTry, takeAlerts } from '../../budget/alerts.ts';
import type { Alert } from '../../budget/alerts.ts';
import type { Sql } from '../../db/connect.ts';
import type { Logger } from '../../log.ts';
import { postWebhook } from './webhook.ts';
import type { WebhookTarget } from './webhook.ts';

const atOnce = 20;
/** Longer than a try. */
const leaseMs = 30_000;

export interface AlertDelivery {
  readonly sql: Sql;
  readonly target: WebhookTarget;
  readonly log: Logger;
}

/** One round. Returns the number of alerts that were tried. */
export async function deliverAlerts({ sql, target, log }: AlertDelivery): Promise<number> {
  const alerts = await takeAlerts(sql, { limit: atOnce, leaseMs });
  await Promise.all(
    alerts.map(async (alert) => {
      const failure = await postWebhook(target, { id: alert.id, body: bodyOf(alert) });
      if (failure !== undefined) log.warn({ alert: alert.id, failure }, 'alert_not_delivered');
      await endAlertTry(sql, { id: alert.id, failure });
    }),
  );
  return alerts.length;
}

/** The body: `{ type, timestamp, data }`, amounts as exact decimal USD. */
function bodyOf({ id: _id, at, kind, ...data }: Alert): string {
  return JSON.stringify({ type: `llm_budget.${kind}`, timestamp: at, data });
}
