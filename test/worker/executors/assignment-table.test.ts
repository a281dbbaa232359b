/** An attempt that is given to an executor either starts there or is withdrawn, once, however many came before. */
import { AbortSource } from '../../../src/worker/executors/abort-source.ts';
import { randomUUID } from 'node:crypto';
import { expect, it } from 'vitest';
import type { BegunAttempt } from '../../../src/jobs/attempts.ts';
import { createAssignment } from '../../../src/worker/executors/assignment.ts';
import type { Assignment } from '../../../src/worker/executors/assignment.ts';
import type { JobTypeFacts } from '../../../src/worker/executors/protocol.ts';
import { ClaimTable } from '../../../src/worker/executors/claim-table.ts';
import { AssignmentTable } from '../../../src/worker/executors/assignment-table.ts';

const facts: JobTypeFacts = {
  schedules: [],
  type: 'report',
  timeoutMs: 1_000,
  maxAttempts: 3,
  onBudget: 'park',
  giveUpAfterMs: 1_000,
  payloadSchema: {},
  builtin: false,
  concurrency: undefined,
  isolation: 'shared',
  durableBegin: false,
  backoff: { baseMs: 0, capMs: 0 },
};
function assignment(): Assignment {
  const attempt: BegunAttempt = {
    jobId: '1',
    tenantId: 'acme',
    jobType: 'report',
    payload: '{}',
    attempt: 1,
    maxAttempts: 3,
    token: randomUUID(),
    isolated: false,
    isolatedCrashes: 0,
  };
  const given = { attempt, facts, abort: new AbortSource(), lane: undefined };
  return createAssignment(given, () => {});
}

it('an executor that receives thousands of attempts late starts those that wait, and none that was withdrawn', () => {
  const claimTable = new ClaimTable();
  const table = new AssignmentTable(claimTable);
  const given: number[] = [];
  const waiting: number[] = [];
  const withdrawn: boolean[] = [];
  for (let count = 0; count < 5_000; count += 1) {
    const one = assignment();
    table.add(one);
    given.push(one.slotIndex);
    if (count % 500 === 0) waiting.push(one.slotIndex);
    else {
      withdrawn.push(table.claim(one));
      table.remove(one.attempt.token);
    }
  }
  expect(withdrawn).not.toContain(false);
  expect(given.filter((slotIndex) => claimTable.claim(slotIndex))).toEqual(waiting);
  expect(table.withdrawUnstarted()).toEqual([]);
});

it('a thousand attempts at once have a slot each, and so have a thousand that follow them', () => {
  const claimTable = new ClaimTable();
  const table = new AssignmentTable(claimTable);
  for (let round = 0; round < 3; round += 1) {
    const held = Array.from({ length: 1_000 }, () => assignment());
    for (const one of held) table.add(one);
    const started = held.filter((_, at) => at % 3 === 0);
    expect(started.filter(({ slotIndex }) => claimTable.claim(slotIndex))).toEqual(started);
    expect(table.listUnreportedStarts()).toEqual(started);
    for (const { slotIndex } of started.slice(0, 10)) claimTable.end(slotIndex);
    expect(held.filter((one) => table.hasEnded(one))).toEqual(started.slice(0, 10));
    expect(table.withdrawUnstarted()).toHaveLength(666);
    for (const { attempt } of started) table.remove(attempt.token);
    expect(table.size).toBe(0);
  }
});
