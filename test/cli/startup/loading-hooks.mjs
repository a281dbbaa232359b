/**
 * Preloaded by loading.test.ts. WITHOUT_PACKAGE: imports of this package fail as if it was not installed.
 * SIGNAL_AFTER: the process gets SIGTERM at the end of the code of this file.
 */
import { register } from 'node:module';

const hooks = `
  let given;
  export const initialize = (data) => { given = data; };
  export async function resolve(specifier, context, next) {
    const { missing } = given;
    if (missing !== undefined && (specifier === missing || specifier.startsWith(missing + '/')))
      throw Object.assign(new Error("Cannot find package '" + specifier + "'"), { code: 'ERR_MODULE_NOT_FOUND' });
    return next(specifier, context);
  }
  export async function load(url, context, next) {
    const loaded = await next(url, context);
    if (given.last === undefined || !url.endsWith(given.last)) return loaded;
    return { ...loaded, source: loaded.source + "\\nprocess.kill(process.pid, 'SIGTERM');" };
  }`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`, {
  data: { missing: process.env['WITHOUT_PACKAGE'], last: process.env['SIGNAL_AFTER'] },
});
