/** A word with a color, for a state. The word says all; the color repeats it. */

export type Tone = 'good' | 'bad' | 'busy' | 'warn' | 'plain';

export function Badge({ tone, text }: { readonly tone: Tone; readonly text: string }) {
  return <span class={`badge ${tone}`}>{text}</span>;
}

const tones: Readonly<Record<string, Tone>> = {
  running: 'busy',
  queued: 'busy',
  failed: 'warn',
  parked: 'warn',
  completed: 'good',
  dead_letter: 'bad',
};

/** Of a job. */
export function StateBadge({ state }: { readonly state: string }) {
  return <Badge tone={tones[state] ?? 'plain'} text={state.replaceAll('_', ' ')} />;
}
