/**
 * An endpoint of the API: what it takes and answers, who may use it, and what it does. The OpenAPI document, the checks of
 * requests and the rules of access are made from the same description.
 */
import type { z } from 'zod';
import type { Sql, Tx } from '../../db/connect.ts';
import type { Database } from '../../db/database.ts';
import type { Operator } from '../../operations/audit.ts';
import type { Role } from '../../operations/operators/roles.ts';
import type { PayloadDoor } from '../payload-door.ts';
import type { Access } from '../web-env.ts';
import type { KeyRule } from './requests/proof.ts';

/** What endpoints work with. */
export interface ApiServices {
  readonly database: Database;
  readonly payloads: PayloadDoor;
}

/**
 * What a token that is limited to tenants or job types may do here. own: it sees and changes what is within its limits.
 * refused: the endpoint is about the fleet.
 */
export type LimitedTokens = 'own' | 'refused';

export const tags = [
  'jobs',
  'dead letters',
  'batches',
  'why',
  'money',
  'schedules',
  'tenants',
  'workers',
  'pauses',
  'audit',
] as const;

type Fields = z.ZodObject;
type Values<S extends Fields | undefined> = S extends Fields ? z.output<S> : undefined;

export type Status = 200 | 201 | 202;

interface Described<P, Q> {
  /** As OpenAPI writes it, below /api/v1. */
  readonly path: string;
  readonly operationId: string;
  readonly tag: (typeof tags)[number];
  readonly summary: string;
  readonly description?: string;
  readonly role: Role;
  readonly limitedTokens: LimitedTokens;
  readonly params?: P;
  readonly query?: Q;
  /** What is not in it is not sent. */
  readonly answer: z.ZodType;
}

interface Asked<P extends Fields | undefined, Q extends Fields | undefined> {
  readonly services: ApiServices;
  readonly sql: Sql;
  readonly access: Access;
  readonly params: Values<P>;
  readonly query: Values<Q>;
}

interface Written<
  P extends Fields | undefined,
  Q extends Fields | undefined,
  B extends Fields | undefined,
> extends Asked<P, Q> {
  readonly operator: Operator;
  readonly body: Values<B>;
}

interface Read<P extends Fields | undefined, Q extends Fields | undefined> extends Described<P, Q> {
  readonly run: (asked: Asked<P, Q>) => Promise<unknown>;
}

/** Runs in the transaction that keeps its answer. */
export type Act = (tx: Tx) => Promise<unknown>;

interface Write<
  P extends Fields | undefined,
  Q extends Fields | undefined,
  B extends Fields | undefined,
> extends Described<P, Q> {
  readonly method: 'post' | 'put' | 'delete';
  /** required: a repetition would act again. */
  readonly key: KeyRule;
  readonly body?: B;
  /** Default 200. */
  readonly status?: Status;
  /**
   * Before the transaction: compares with the limits of a token, and does what must not wait inside, where the process may
   * have no other connection.
   */
  readonly act: (asked: Written<P, Q, B>) => Promise<Act> | Act;
  /** After the commit, for what the scheduler does later if the process dies here. Not for a repeated request. */
  readonly after?: (asked: Written<P, Q, B>) => Promise<void>;
}

/** Parsed by the validators of the route, by the schemas of the endpoint. */
export interface RequestValues {
  readonly services: ApiServices;
  readonly access: Access;
  readonly params: unknown;
  readonly query: unknown;
  readonly body: unknown;
}

export interface Begun {
  readonly act: Act;
  readonly after: () => Promise<void>;
}

/** Any endpoint, without the types of its parts. */
export interface Endpoint extends Described<Fields | undefined, Fields | undefined> {
  readonly method: 'get' | 'post' | 'put' | 'delete';
  readonly body?: Fields | undefined;
  readonly status: Status;
  /** Of a write. */
  readonly key?: KeyRule;
  /** Of a read. */
  readonly read?: (values: RequestValues) => Promise<unknown>;
  /** Of a write. */
  readonly begin?: (values: RequestValues) => Promise<Begun>;
}

/** As the validators of the route have parsed them, by this schema. */
const parsedBy = <S extends Fields | undefined>(_schema: S | undefined, values: unknown) =>
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  values as Values<S>;

export function read<
  P extends Fields | undefined = undefined,
  Q extends Fields | undefined = undefined,
>({ run, ...described }: Read<P, Q>): Endpoint {
  return {
    ...described,
    method: 'get',
    status: 200,
    read: ({ services, access, params, query }) =>
      run({
        services,
        sql: services.database.system,
        access,
        params: parsedBy<P>(described.params, params),
        query: parsedBy<Q>(described.query, query),
      }),
  };
}

export function write<
  P extends Fields | undefined = undefined,
  Q extends Fields | undefined = undefined,
  B extends Fields | undefined = undefined,
>({ act, after, ...described }: Write<P, Q, B>): Endpoint {
  return {
    status: 200,
    ...described,
    begin: async ({ services, access, params, query, body }) => {
      const asked: Written<P, Q, B> = {
        services,
        sql: services.database.system,
        access,
        operator: access.operator,
        params: parsedBy<P>(described.params, params),
        query: parsedBy<Q>(described.query, query),
        body: parsedBy<B>(described.body, body),
      };
      return { act: await act(asked), after: async () => after?.(asked) };
    },
  };
}
