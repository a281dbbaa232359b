/** What happened, what is wrong, and what is not there. */
import type { Child } from 'hono/jsx';

export interface NoticeProps {
  readonly tone: 'good' | 'bad' | 'plain';
  readonly children?: Child;
}

/** Read out at once. */
export function Notice({ tone, children }: NoticeProps) {
  return (
    <p class={`notice ${tone}`} role={tone === 'bad' ? 'alert' : 'status'}>
      {children}
    </p>
  );
}

/** Short facts in two columns. An entry whose value is undefined or null is left out. */
export function Facts({ of }: { readonly of: readonly (readonly [string, Child])[] }) {
  return (
    <dl class="facts">
      {of
        .filter(([, value]) => value !== undefined && value !== null)
        .map(([name, value]) => (
          <div>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}
