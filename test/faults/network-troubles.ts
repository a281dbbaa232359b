/** Network faults, one after the other, each during a wave of jobs. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Proxy } from './proxy.ts';

const cuts = 5;

/** `holdMs`: longer than a lease. */
type Trouble = (proxy: Proxy, holdMs: number) => Promise<void>;

const troubles: Readonly<Record<string, Trouble>> = {
  cut: async (proxy) => {
    for (let cut = 0; cut < cuts; cut += 1) {
      proxy.cut();
      await sleep(100);
    }
  },
  refused: async (proxy, holdMs) => {
    proxy.refuse();
    await sleep(holdMs);
    proxy.pass();
  },
  slow: async (proxy, holdMs) => {
    proxy.delay(30);
    await sleep(holdMs);
    proxy.delay(0);
  },
  'half-open': async (proxy, holdMs) => {
    proxy.halfOpen();
    await sleep(holdMs);
    proxy.pass();
  },
};

/** How many waves throughTroubles() plays on each proxy. */
export const troublesEach = Object.keys(troubles).length;

/**
 * Puts each trouble on each proxy, the others in order meanwhile. `wave` accepts jobs, calls what it is given,
 * and waits until most of its jobs are done. Returns how long each wave took, in words.
 */
export async function throughTroubles(
  proxies: Readonly<Record<string, Proxy>>,
  wave: (disturb: () => Promise<void>) => Promise<void>,
  holdMs: number,
): Promise<string> {
  const words: string[] = [];
  for (const [whose, proxy] of Object.entries(proxies)) {
    for (const [name, trouble] of Object.entries(troubles)) {
      const startedAt = performance.now();
      await wave(() => trouble(proxy, holdMs));
      words.push(`${whose} ${name} ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
    }
  }
  return words.join(', ');
}
