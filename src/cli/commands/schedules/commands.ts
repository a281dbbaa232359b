/** `purser schedules list|set|pause|resume|run|next`. */
import type { Command } from '../../terminal/command.ts';
import { listCommand } from './list.ts';
import { nextCommand } from './next.ts';
import { pauseCommands } from './pause.ts';
import { runCommand } from './run.ts';
import { setCommand } from './set.ts';

export const scheduleCommands: readonly Command[] = [
  listCommand,
  setCommand,
  ...pauseCommands,
  runCommand,
  nextCommand,
];
