/** A progress bar on a terminal; elsewhere a line at every 25 %. */
import type { Invocation } from './command.ts';

export interface Progress {
  readonly update: (done: number, total: number) => void;
  readonly end: () => void;
}

const width = 30;
const redrawMs = 100;
const plainStep = 0.25;

export function progressBar(
  invocation: Pick<Invocation, 'interactive' | 'note'>,
  label: string,
): Progress {
  let drawnAt = 0;
  let reported = 0;
  let drawn = false;
  return {
    update: (done, total) => {
      const part = total === 0 ? 1 : Math.min(1, done / total);
      if (!invocation.interactive) {
        if (part - reported < plainStep) return;
        reported = part;
        invocation.note(`${label}: ${Math.round(part * 100)} %`);
        return;
      }
      const now = Date.now();
      if (part < 1 && now - drawnAt < redrawMs) return;
      drawnAt = now;
      drawn = true;
      const full = Math.round(part * width);
      process.stderr.write(
        `\r${label} [${'#'.repeat(full)}${'.'.repeat(width - full)}] ${Math.round(part * 100)} %`,
      );
    },
    end: () => {
      if (drawn) process.stderr.write('\n');
    },
  };
}
