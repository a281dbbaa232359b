/** Which forms of a call may be sent now, and how their end is told to the breakers. */
import { formatUsd } from '../../budget/money.ts';
import { codeOf } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import type { Sql } from '../../db/connect.ts';
import { rungOf } from '../hold-request.ts';
import type { HoldRequest } from '../hold-request.ts';
import type { Breakers, Obstacle, Probe } from './breakers.ts';
import { circuitOpen } from './refusal.ts';
import { recordRefusal } from './store.ts';

interface Caller {
  readonly sql: Sql;
  readonly tenantId: string;
  readonly jobId: string;
  readonly token: string;
  readonly log: Logger;
  readonly breakers?: Breakers | undefined;
}

/** A call on its way through its breakers. Its first end counts. */
export interface Passage {
  /** With the error of the exchange, or undefined where it was answered. */
  end(error: unknown): void;
  /** Nothing was sent, or its end says nothing: a probe is free for the next call. */
  abandon(): void;
}

export type Forms = readonly [HoldRequest, ...HoldRequest[]];

interface Admitted {
  readonly forms: Forms;
  /** The place of each of them in the request. */
  readonly places: readonly number[];
  /** Of the form that was chosen. */
  readonly pass: (form: number) => Passage | undefined;
  /** No form was. */
  readonly abandon: () => void;
}

/** What a call may take beside its timeout: reserve, mark as sent, and read. */
const leaseGraceMs = 30_000;

/**
 * Reserves one of the forms that no open breaker keeps. Throws `llm_circuit_open` where there is none: nothing is
 * reserved then.
 */
export async function throughBreakers<R extends { readonly form: number }>(
  caller: Caller,
  forms: Forms,
  reserve: (open: Forms) => Promise<R>,
): Promise<R & { readonly pass?: Passage | undefined }> {
  const { breakers } = caller;
  if (breakers === undefined) return reserve(forms);
  const admitted = await admit(caller, breakers, forms);
  try {
    const reserved = await reserve(admitted.forms);
    const { form } = reserved;
    return { ...reserved, form: admitted.places[form] ?? form, pass: admitted.pass(form) };
  } catch (error) {
    admitted.abandon();
    throw error;
  }
}

async function admit(caller: Caller, breakers: Breakers, forms: Forms): Promise<Admitted> {
  const { tenantId } = caller;
  const routes = forms.map((form) => ({ ...form, tenantId }));
  const obstacles = await breakers.obstacles(routes);
  const places: number[] = [];
  let probe: (Probe & { readonly place: number }) | undefined;
  let mayProbe = true;
  for (const [place, form] of forms.entries()) {
    const inTheWay = obstacles[place] ?? [];
    if (inTheWay.length === 0) places.push(place);
    else if (mayProbe && inTheWay.every((one) => one.dueAtMs <= breakers.clock.now())) {
      mayProbe = false;
      const taken = await breakers.takeProbe(inTheWay, form.timeoutMs + leaseGraceMs);
      if (taken === undefined) continue;
      probe = { ...taken, place };
      places.push(place);
    }
  }
  const [first, ...others] = places.flatMap((place) => forms[place] ?? []);
  if (first === undefined) throw await refuse(caller, forms, obstacles, breakers.clock.now());
  const endProbe = (): void => {
    const route = probe === undefined ? undefined : routes[probe.place];
    if (route !== undefined) breakers.ended(route, 0, nothing, probe);
    probe = undefined;
  };
  return {
    forms: [first, ...others],
    places,
    pass: (form) => {
      const place = places[form];
      const route = place === undefined ? undefined : routes[place];
      if (route === undefined) return undefined;
      if (probe?.place !== place) endProbe();
      return passage(breakers, route, probe);
    },
    abandon: endProbe,
  };
}

/** Says nothing about any breaker. */
const nothing = new Error('nothing was sent');

function passage(
  breakers: Breakers,
  route: HoldRequest & { readonly tenantId: string },
  probe: Probe | undefined,
): Passage {
  const beganAtMs = breakers.clock.now();
  let hasEnded = false;
  const end = (error: unknown): void => {
    if (hasEnded) return;
    hasEnded = true;
    breakers.ended(route, beganAtMs, error, probe);
  };
  return { end, abandon: () => end(nothing) };
}

async function refuse(
  { sql, tenantId, jobId, token, log }: Caller,
  forms: Forms,
  obstacles: readonly (readonly Obstacle[])[],
  nowMs: number,
): Promise<Error> {
  const [{ provider, providerKey, model }] = forms;
  // Of each form the one that keeps it longest.
  const longest = obstacles.flatMap((ofForm) =>
    ofForm.toSorted((a, b) => b.dueAtMs - a.dueAtMs).slice(0, 1),
  );
  const first = longest.toSorted((a, b) => a.dueAtMs - b.dueAtMs)[0];
  const holds = forms.map((form) => rungOf(form).holdNanoUsd);
  const least = holds.reduce((a, b) => (b < a ? b : a));
  const blocked = {
    tenantId,
    provider,
    model,
    neededUsd: formatUsd(least),
    breakers: [...new Set(longest.map(({ name }) => name))],
  };
  try {
    await recordRefusal(sql, { ...blocked, providerKey, jobId, token });
  } catch (error) {
    // The job then wakes in the next sweep, and parks again.
    log.warn({ code: codeOf(error) }, 'llm_refusal_not_recorded');
  }
  const { lastError = '', dueAtMs = nowMs } = first ?? {};
  return circuitOpen({ ...blocked, lastError, waitMs: dueAtMs - nowMs });
}
