/** `purser keys generate-salt|generate-key`: what production asks for. */
import { EncryptionKeyManager } from '../crypto/keyring.ts';
import { exitCodes } from '../errors.ts';
import type { Command } from './command.ts';

export const keyCommands: readonly Command[] = [
  {
    path: 'keys generate-salt',
    summary: 'a random KDF_SALT: 32 bytes in base64',
    run: async ({ print }) => {
      print(EncryptionKeyManager.generateSalt());
      return Promise.resolve(exitCodes.ok);
    },
  },
  {
    path: 'keys generate-key',
    summary: 'a random ENCRYPTION_KEY',
    run: async ({ print }) => {
      print(EncryptionKeyManager.generateKey());
      return Promise.resolve(exitCodes.ok);
    },
  },
];
