/** A worker process of the storm, started with an IPC channel. It is killed where the storm says. */
import { setTimeout as sleep } from 'node:timers/promises';
import { gatherCharges } from '../../../src/budget/charges.ts';
import { connect } from '../../../src/db/connect.ts';
import { runLane } from './lane.ts';
import type { Answer, Counts, CrashPoint, Message, Order } from './order.ts';
import { randomOf } from './random.ts';

const reportEveryMs = 25;

let progress = 0;
let stopped = false;
let crashAt: CrashPoint | undefined;
let counts: Counts = {};

const tell = (answer: Answer) => void process.send?.(answer);

function report(): void {
  if (Object.keys(counts).length > 0) tell({ kind: 'counts', counts });
  counts = {};
}

async function work(order: Order): Promise<void> {
  const sql = connect(order.url, { max: order.lanes, applicationName: 'purser test storm' });
  const charges = gatherCharges(sql);
  const timer = setInterval(report, reportEveryMs);
  const random = randomOf(order.seed);
  const lanes = Array.from({ length: order.lanes }, (_, index) =>
    runLane(
      {
        sql,
        charges,
        order,
        random: randomOf(order.seed * 1000 + index),
        progress: () => progress,
        count: (name) => {
          counts[name] = (counts[name] ?? 0) + 1;
        },
        fault: (fault) => tell({ kind: 'fault', fault }),
        pass: async (point, reservationId) => {
          if (crashAt !== point) return;
          crashAt = undefined;
          report();
          // The statement is on its way: let it be anywhere between here and its answer.
          if (point === 'settling') await sleep(random() * 4);
          tell({ kind: 'at', point, reservationId });
          await new Promise(() => {});
        },
      },
      () => stopped,
    ),
  );
  await Promise.all(lanes);
  clearInterval(timer);
  report();
  await sql.end({ timeout: 5 });
  process.disconnect();
}

process.on('message', (message: Message) => {
  if (message.kind === 'start') void work(message.order);
  else if (message.kind === 'progress') ({ progress } = message);
  else if (message.kind === 'crash') crashAt = message.point;
  else stopped = true;
});
