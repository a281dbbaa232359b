/** Preloaded by test/cli/startup/loading.test.ts: imports of the package WITHOUT_PACKAGE fail as if it was not installed. */
import { register } from 'node:module';

const hooks = `
  export const initialize = (name) => { globalThis.missing = name; };
  export async function resolve(specifier, context, next) {
    if (specifier === globalThis.missing || specifier.startsWith(globalThis.missing + '/'))
      throw Object.assign(new Error("Cannot find package '" + specifier + "'"), { code: 'ERR_MODULE_NOT_FOUND' });
    return next(specifier, context);
  }`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`, {
  data: process.env['WITHOUT_PACKAGE'],
});
