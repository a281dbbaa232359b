/** `purser prices sync|show|set|clear|rerate`. */
import type { Command } from '../../terminal/command.ts';
import { rerateCommand } from './rerate.ts';
import { setCommands } from './set.ts';
import { showCommand } from './show.ts';
import { syncCommand } from './sync.ts';

export const priceCommands: readonly Command[] = [
  syncCommand,
  showCommand,
  ...setCommands,
  rerateCommand,
];
