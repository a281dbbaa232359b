/** The stylesheet and the script of the console, each under a path with the hash of its content. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Hono } from 'hono';
import type { WebEnv } from '../web-env.ts';
import { forEverybody } from '../access/route-rules.ts';

export const assetsPath = '/assets';

const read = (names: readonly [string, ...string[]], ending: string, type: string) => {
  const [name] = names;
  const content = Buffer.concat(
    names.map((each) => readFileSync(new URL(`./assets/${each}.${ending}`, import.meta.url))),
  );
  const hash = createHash('sha256').update(content).digest('hex').slice(0, 12);
  return { path: `${assetsPath}/${name}.${hash}.${ending}`, content, type };
};

const stylesheet = read(['console', 'parts', 'fleet'], 'css', 'text/css; charset=utf-8');
const script = read(['console'], 'js', 'text/javascript; charset=utf-8');

export const stylesheetPath = stylesheet.path;
export const scriptPath = script.path;

/** The login page needs them too. */
export function createAssets(): Hono<WebEnv> {
  const app = new Hono<WebEnv>();
  for (const { path, content, type } of [stylesheet, script]) {
    app.get(path, forEverybody(), (c) => c.body(content, 200, { 'Content-Type': type }));
  }
  return app;
}
