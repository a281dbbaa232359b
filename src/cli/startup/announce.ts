/**
 * Says on stderr what a role that starts does: that it waits for a store, with the variable and the place of its server,
 * and that it is running, which it says only when the queue store takes writes.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, messageOf, PurserError } from '../../errors.ts';
import { redactUrls } from '../../log.ts';
import type { QueueBackend } from '../../queues/backend.ts';
import { storeText } from '../runtime/store-place.ts';
import type { StoreConfig } from '../runtime/store-place.ts';

const askAgainMs = 1_000;

/** `purser worker is waiting for Redis at host:6379 (REDIS_URL)`. A fault in words of ours follows. */
export function waitingText(
  word: string,
  config: StoreConfig,
  variable: string,
  error: unknown,
): string {
  const why = error instanceof PurserError ? redactUrls(messageOf(error)) : codeOf(error);
  const detail = why === 'error' ? '' : `: ${why}`;
  return `purser ${word} is waiting for ${storeText(config, variable)}${detail}`;
}

export interface Announcement {
  readonly backend: Pick<QueueBackend, 'probeWrite'>;
  readonly stopSignal: AbortSignal;
  readonly note: (line: string) => void;
  readonly running: string;
  /** The line for a store that does not take writes. */
  readonly waiting: (error: unknown) => string;
}

/** Resolves when it has said that the role is running, or at a stop. Never rejects. */
export async function announceRunning(announcement: Announcement): Promise<void> {
  const { backend, stopSignal, note, running, waiting } = announcement;
  let said = '';
  while (!stopSignal.aborted) {
    try {
      await backend.probeWrite();
      note(running);
      return;
    } catch (error) {
      const text = waiting(error);
      if (text !== said && !stopSignal.aborted) note(text);
      said = text;
    }
    await sleep(askAgainMs, undefined, { signal: stopSignal, ref: false }).catch(() => {});
  }
}
