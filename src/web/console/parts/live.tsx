/** A part of a page that the script loads anew when something has changed; the rest of the page, its forms, stays. */
import type { Child } from 'hono/jsx';

export function Live({ id, children }: { readonly id: string; readonly children?: Child }) {
  return (
    <div id={id} data-live>
      {children}
    </div>
  );
}
