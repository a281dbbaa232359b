/** Handlers that misbehave in the way that payload.how names. */
import { pbkdf2Sync } from 'node:crypto';
import { readFileSync } from 'node:fs';

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const never = () => new Promise(() => {});
/** Keeps what it is given from being collected. */
const kept = [];

const ways = {
  loop: () => {
    for (;;);
  },
  deaf: () => pause(3_600_000),
  atomics: () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0),
  regexp: () => /^(a+)+$/.test(`${'a'.repeat(60)}!`),
  exit: () => process.exit(0),
  exit_later: async () => {
    setTimeout(() => process.exit(0), 20);
    await never();
  },
  rejection: async () => {
    void Promise.reject(new Error('nobody waits for this'));
    await pause(300);
  },
  timer_throw: async () => {
    setTimeout(() => {
      throw new Error('thrown by a timer');
    }, 20);
    await never();
  },
  throw_null: () => {
    throw null;
  },
  throw_hostile: () => {
    throw {
      get message() {
        throw new Error('no message for you');
      },
    };
  },
  circular: () => {
    const circle = {};
    circle.self = circle;
    return circle;
  },
  bigint: () => ({ count: 10n }),
  huge: () => 'x'.repeat(50_000_000),
  uncloneable: () => ({ run: () => 1, name: Symbol('s'), ref: new WeakMap() }),
  heap: async () => {
    for (;;) {
      kept.push(Array.from({ length: 10_000 }, (_, index) => ({ index })));
      if (kept.length % 10 === 0) await pause(1);
    }
  },
  // oxlint-disable-next-line unicorn/no-new-array -- what a careless handler writes
  array: () => new Array(2 ** 27).fill(0).length,
  buffers: async () => {
    for (;;) {
      kept.push(Buffer.alloc(32 * 1024 * 1024, 1));
      await pause(10);
    }
  },
  fifo: ({ payload }) => readFileSync(payload.fifo, 'utf8'),
  // An hour and more of work in one native call.
  pbkdf2: () => pbkdf2Sync('password', 'salt', 2_000_000_000, 64, 'sha512').length,
};

const misbehave = async (ctx) => ways[ctx.payload.how](ctx);

export const culprits = [
  { type: 'fault_culprit', timeoutMs: 1_000, maxAttempts: 1, run: misbehave },
  // Time enough to fill a memory on a busy machine.
  { type: 'fault_glutton', timeoutMs: 60_000, maxAttempts: 1, run: misbehave },
  // Longer than the crash takes on any machine.
  { type: 'fault_crash', timeoutMs: 300_000, maxAttempts: 1, run: misbehave },
];
