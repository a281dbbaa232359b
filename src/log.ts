/**
 * The logger of every role: JSON lines on stderr, a stable event name in `event`, secrets redacted by key.
 * stdout is only for the output of commands.
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
 * Redacts `user:password@` and `?password=` in every URL inside a text: drivers put connection strings into
 * messages. A password may contain `@`.
 */
export function redactUrls(text: string): string {
  // The length limit of the scheme keeps the time linear in the length of the text.
  return text
    .replace(/([a-z][a-z0-9+.-]{0,30}:\/\/)[^\s/]+@/gi, '$1[redacted]@')
    .replace(/([?&]password=)[^\s&]+/gi, '$1[redacted]');
}

export interface LogOptions {
  readonly level: string;
  readonly role: string;
  readonly destination?: DestinationStream;
}

/** Every line carries `role`. Levels are pino's (`debug` ... `fatal`, `silent`). */
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
