/** What the context of an attempt takes from its executor, made where the handler asks for it. */
import type { DestinationStream } from 'pino';
import type { OpenKeys } from '../../../crypto/open-keyring.ts';
import type { SecretTexts } from '../../../crypto/secrets/texts.ts';
import type { Tx } from '../../../db/connect.ts';
import type { TenantPool, TenantSql } from '../../../db/tenant.ts';
import type { Handler } from '../../../handlers/define.ts';
import type { HandlerRegistry } from '../../../handlers/index.ts';
import { payloadSealer } from '../../../handlers/seal.ts';
import type { BegunAttempt } from '../../../jobs/attempts.ts';
import { createHandlerLlm } from '../../../llm/handler-llm.ts';
import { lateCall } from '../../../llm/llm.ts';
import type { Llm } from '../../../llm/llm.ts';
import type { StreamLink } from '../../../llm/streams/handler-stream.ts';
import type { Logger } from '../../../log.ts';
import type { AbortSource } from '../abort-source.ts';
import type { FromExecutor } from '../protocol.ts';
import type { AttemptLog } from './attempt-log.ts';
import type { OpenCalls } from './open-calls.ts';
import type { PendingCalls } from './pending-calls.ts';
import { redactResult, refuseSecretNames, refuseSecrets } from './redact.ts';
import type { ChildNames } from './redact.ts';

export interface AttemptOwn {
  readonly attempt: BegunAttempt;
  readonly handler: Handler;
  readonly abort: AbortSource;
  /** Opened for this attempt; removed from everything that leaves it. */
  readonly secrets: SecretTexts;
  readonly reports: AttemptLog;
  readonly calls: OpenCalls;
}

/** Of all attempts of the thread. */
export interface AttemptServices {
  readonly registry: HandlerRegistry;
  readonly tenant: TenantPool;
  readonly openKeys: OpenKeys;
  readonly logLevel: string;
  readonly stderr: DestinationStream;
  readonly post: (message: FromExecutor) => void;
}

export interface AttemptExecutor {
  readonly services: AttemptServices;
  readonly llmCalls: PendingCalls;
  readonly isRunning: (token: string) => boolean;
}

/** Of a stream after the attempt's end. */
const deadLink = (): StreamLink => ({
  reply: Promise.reject(lateCall()),
  read: () => {},
  leave: () => {},
});

export class ContextParts {
  readonly own: AttemptOwn;
  readonly #executor: AttemptExecutor;

  constructor(executor: AttemptExecutor, own: AttemptOwn) {
    this.#executor = executor;
    this.own = own;
  }

  get tenant(): TenantPool {
    return this.#executor.services.tenant;
  }

  openLlm(): Llm {
    const { token } = this.own.attempt;
    const { services, llmCalls, isRunning } = this.#executor;
    return createHandlerLlm(
      // A call after the attempt's end would have no one who answers it.
      (call) => (isRunning(token) ? llmCalls.send(token, call) : Promise.reject(lateCall())),
      (fits) => services.post({ kind: 'llm_output_checked', fits }),
      {
        open: (call, onText) =>
          isRunning(token) ? llmCalls.openStream(token, call, onText) : deadLink(),
        track: (run) => this.own.calls.track('ctx.llm.stream', run),
      },
      this.own.handler.llm,
    );
  }

  openLog(): Logger {
    const { jobId, tenantId, jobType } = this.own.attempt;
    const { logLevel: level, stderr } = this.#executor.services;
    return this.own.reports.logger({ level, stderr, about: { jobId, tenantId, jobType } });
  }

  /** Encrypts what the child's type marks as secret. */
  seal(sql: TenantSql | Tx, jobType: string, payload: object): Promise<object> {
    const { registry, openKeys } = this.#executor.services;
    const paths = registry.get(jobType)?.secretPaths ?? [];
    const { tenantId } = this.own.attempt;
    return payloadSealer(sql, openKeys)({ tenantId, jobType }, payload, paths);
  }

  /** Removes the attempt's secrets from a stored result. */
  redactResult(stored: unknown): unknown {
    return redactResult(this.own.secrets, stored);
  }

  /** Throws when a child job would store a secret of the attempt in plain text. */
  refuseSecrets(jobType: string, payload: object): void {
    refuseSecrets(this.own.secrets, jobType, payload);
  }

  /** The same of its names. */
  refuseSecretNames(jobType: string, names: ChildNames): void {
    refuseSecretNames(this.own.secrets, jobType, names);
  }
}
