/** What every route of the web role knows: the Node request beneath it and who is logged in. */
import type { HttpBindings } from '@hono/node-server';

export interface WebEnv {
  /** Absent when the app is called without a server. */
  Bindings: Partial<HttpBindings>;
  Variables: { operator: string };
}
