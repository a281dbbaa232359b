/**
 * Globals that Node loads when they are first read (Headers, Response, FormData, streams). Loading them all takes a
 * thread some 40 ms, so whoever watches them is told of each when it is loaded, before its reader can change it.
 */
const { apply, defineProperty, getOwnPropertyDescriptor, ownKeys } = Reflect;

/** `onLoad` gets what each read of a getter of globalThis returns, of all but the `skipped`. */
export function watchLazyGlobals(
  skipped: ReadonlySet<PropertyKey>,
  onLoad: (key: PropertyKey, value: unknown) => void,
): void {
  for (const key of ownKeys(globalThis)) {
    const lazy = getOwnPropertyDescriptor(globalThis, key);
    const load = lazy?.get;
    if (lazy?.configurable !== true || load === undefined || skipped.has(key)) continue;
    defineProperty(globalThis, key, {
      ...lazy,
      // Node's own getter puts the value in the place of this one.
      get: () => {
        const value: unknown = apply(load, globalThis, []);
        onLoad(key, value);
        return value;
      },
    });
  }
}
