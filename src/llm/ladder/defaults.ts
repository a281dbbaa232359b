/** The cheaper forms that a handler names for all of its calls; what a call names itself counts instead. */
import { messageOf, UsageError } from '../../errors.ts';
import { checkCap, checkModel, maxFallbacks } from '../check-call.ts';
import type { LlmFallback } from '../llm.ts';

export interface LlmDefaults {
  /** Tried in their order where the whole form does not fit the budget; `[]` in a call means none. */
  readonly fallbacks?: readonly LlmFallback[];
  /** The smallest useful output; of a call with a smaller cap, that cap. */
  readonly minOutputTokens?: number;
}

/** Plain data, or undefined for undefined. Calls `refuse` with a fault that names the field. */
export function readLlmDefaults(
  given: unknown,
  refuse: (fault: string) => never,
): LlmDefaults | undefined {
  try {
    return given === undefined ? undefined : read(given);
  } catch (error) {
    return refuse(messageOf(error));
  }
}

function read(given: unknown): LlmDefaults {
  const { fallbacks, minOutputTokens } = fieldsOf('llm', given, ['fallbacks', 'minOutputTokens']);
  if (minOutputTokens !== undefined) checkCap('llm.minOutputTokens', minOutputTokens);
  const forms = fallbacks === undefined ? undefined : readForms(fallbacks);
  const lastCap = forms?.at(-1)?.maxOutputTokens;
  if (lastCap !== undefined && Number(minOutputTokens ?? 0) > lastCap) {
    throw new UsageError(
      `llm.minOutputTokens is ${Number(minOutputTokens)} and the cap of the last of llm.fallbacks ${lastCap}; it must not be more`,
    );
  }
  return {
    ...(forms === undefined ? {} : { fallbacks: forms }),
    ...(minOutputTokens === undefined ? {} : { minOutputTokens: Number(minOutputTokens) }),
  };
}

function readForms(given: unknown): LlmFallback[] {
  if (!Array.isArray(given) || given.length > maxFallbacks) {
    throw new UsageError(
      `llm.fallbacks must be a list of at most ${maxFallbacks} forms { model?, maxOutputTokens? }`,
    );
  }
  return given.map((form: unknown, index) => {
    const name = `llm.fallbacks[${index}]`;
    const { model, maxOutputTokens } = fieldsOf(name, form, ['model', 'maxOutputTokens']);
    if (model === undefined && maxOutputTokens === undefined) {
      throw new UsageError(`${name} must name a model, a maxOutputTokens or both`);
    }
    checkModel(model, name);
    if (maxOutputTokens !== undefined) checkCap(`${name}.maxOutputTokens`, maxOutputTokens);
    return {
      ...(typeof model === 'string' ? { model } : {}),
      ...(maxOutputTokens === undefined ? {} : { maxOutputTokens: Number(maxOutputTokens) }),
    };
  });
}

function fieldsOf(name: string, given: unknown, known: readonly string[]): Record<string, unknown> {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw new UsageError(`${name} must be an object { ${known.join('?, ')}? }`);
  }
  const other = Object.keys(given).find((field) => !known.includes(field));
  if (other !== undefined) {
    throw new UsageError(
      `${name}: there is no option ${JSON.stringify(other.slice(0, 60))}; use ${known.join(' or ')}`,
    );
  }
  return { ...given };
}

interface Ladder {
  readonly maxOutputTokens: number;
  readonly fallbacks?: readonly LlmFallback[];
  readonly minOutputTokens?: number;
}

/** With the defaults for what the call does not name. They raise none of its caps. */
export function withDefaults<C extends Ladder>(call: C, defaults: LlmDefaults | undefined): C {
  if (defaults === undefined) return call;
  const most = call.maxOutputTokens;
  const least = call.minOutputTokens ?? 0;
  const usual = defaults.fallbacks?.map((form) => capped(form, most));
  const { fallbacks = usual?.filter((form) => (form.maxOutputTokens ?? most) >= least) } = call;
  const lastCap = fallbacks?.at(-1)?.maxOutputTokens ?? most;
  const usualMin = defaults.minOutputTokens;
  const { minOutputTokens = usualMin === undefined ? undefined : Math.min(usualMin, lastCap) } =
    call;
  return {
    ...call,
    ...(fallbacks === undefined ? {} : { fallbacks }),
    ...(minOutputTokens === undefined ? {} : { minOutputTokens }),
  };
}

const capped = (form: LlmFallback, most: number): LlmFallback =>
  form.maxOutputTokens === undefined
    ? form
    : { ...form, maxOutputTokens: Math.min(form.maxOutputTokens, most) };
