/**
 * One logger for every role: JSON lines to stderr, a stable event name as the message, secrets
 * redacted by key. stdout stays free for what a command prints.
 */
import { pino, stdSerializers } from 'pino';
import type { DestinationStream, Logger as PinoLogger } from 'pino';

export type Logger = PinoLogger;

const secretKeys = [
  'password',
  'secret',
  'token',
  'apiKey',
  'api_key',
  'authorization',
  'credentials',
  'encryptionKey',
  'kdfSalt',
];

/**
 * Hides `user:password@` and `?password=` in any URL inside a text, as drivers put connection strings in
 * messages. A password may itself contain `@`.
 */
export function redactUrls(text: string): string {
  // The bound on the scheme keeps a long word from taking time in proportion to its square.
  return text
    .replace(/([a-z][a-z0-9+.-]{0,30}:\/\/)[^\s/]+@/gi, '$1[redacted]@')
    .replace(/([?&]password=)[^\s&]+/gi, '$1[redacted]');
}

export interface LogOptions {
  readonly level: string;
  readonly role: string;
  readonly destination?: DestinationStream;
}

/** A logger whose every line carries `role`; levels are pino's (`debug` ... `fatal`, `silent`). */
export function createLogger(options: LogOptions): Logger {
  return pino(
    {
      level: options.level,
      base: { role: options.role },
      timestamp: () => `,"at":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      messageKey: 'event',
      redact: {
        paths: secretKeys.flatMap((key) => [key, `*.${key}`, `*.*.${key}`]),
        censor: '[redacted]',
      },
      serializers: {
        error: (thrown: unknown) => {
          if (!(thrown instanceof Error)) return { message: redactUrls(String(thrown)) };
          const plain = stdSerializers.err(thrown);
          return {
            type: plain.type,
            code: 'code' in thrown ? thrown.code : undefined,
            message: redactUrls(plain.message),
            stack: redactUrls(plain.stack),
          };
        },
      },
    },
    options.destination ?? process.stderr,
  );
}
