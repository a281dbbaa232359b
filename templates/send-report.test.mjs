// Run it:  node --test
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { handler, handlers, summarise } from './send-report.mjs';

test('send_report names the most expensive service', () => {
  const rows = [
    { service: 'Compute', cost: '12.5' },
    { service: 'Storage', cost: '3' },
  ];
  assert.deepEqual(summarise(rows), { services: 2, mostExpensive: 'Compute' });
  assert.deepEqual(summarise([]), { services: 0, mostExpensive: null });
});

test('the module exports send_report as Purser loads it', () => {
  assert.deepEqual(handlers, [handler]);
  assert.equal(handler.type, 'send_report');
  assert.ok(handler.timeoutMs > 0 && handler.maxAttempts > 0);
});
