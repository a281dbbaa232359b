/** The context of every route of the web role: the Node request, and the user who is logged in. */
import type { HttpBindings } from '@hono/node-server';

export interface WebEnv {
  /** Empty when the app is called without a server. */
  Bindings: Partial<HttpBindings>;
  Variables: { operator: string };
}
