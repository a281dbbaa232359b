/** Who was given to an executor is begun there once, or taken back once, however many were given and let go before. */
import { randomUUID } from 'node:crypto';
import { expect, it } from 'vitest';
import type { BegunAttempt } from '../../../src/jobs/attempts.ts';
import { createAssignment } from '../../../src/worker/executors/assignment.ts';
import type { Assignment } from '../../../src/worker/executors/assignment.ts';
import type { JobTypeFacts } from '../../../src/worker/executors/protocol.ts';
import { SharedBoard } from '../../../src/worker/executors/protocol.ts';
import { Roster } from '../../../src/worker/executors/assignment-table.ts';

const facts: JobTypeFacts = {
  type: 'report',
  timeoutMs: 1_000,
  maxAttempts: 3,
  onBudget: 'park',
  giveUpAfterMs: 1_000,
  payloadSchema: {},
  builtin: false,
  concurrency: undefined,
  isolation: 'shared',
  backoff: { baseMs: 0, capMs: 0 },
};
function assignment(): Assignment {
  const attempt: BegunAttempt = {
    jobId: '1',
    tenantId: 'acme',
    jobType: 'report',
    payload: {},
    attempt: 1,
    maxAttempts: 3,
    token: randomUUID(),
    isolated: false,
    isolatedCrashes: 0,
    createdAt: new Date(),
    scheduledFor: new Date(),
  };
  return createAssignment(attempt, facts, new AbortController()).assignment;
}

it('an executor that hears late of thousands begins those that wait, and none that was let go', () => {
  const board = new SharedBoard();
  const roster = new Roster(board);
  const told: number[] = [];
  const waiting: number[] = [];
  const letGo: boolean[] = [];
  for (let given = 0; given < 5_000; given += 1) {
    const one = assignment();
    roster.add(one);
    told.push(one.place);
    if (given % 500 === 0) waiting.push(one.place);
    else {
      letGo.push(roster.claim(one));
      roster.take(one.attempt.token);
    }
  }
  expect(letGo).not.toContain(false);
  expect(told.filter((place) => board.claim(place))).toEqual(waiting);
  expect(roster.withdraw()).toEqual([]);
});
