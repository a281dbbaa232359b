/**
 * Sees whether the built-ins of a thread (prototypes, constructors, namespaces, globals, modules of Node) are still
 * what they were: a handler that patched one changed it for every later job. The list is walked from globalThis.
 * Calls only what it took before any handler's code was loaded.
 */
import { getBuiltinModule } from 'node:process';
import { runInNewContext } from 'node:vm';
import { watchLazyGlobals } from './lazy-globals.ts';

const { getOwnPropertyDescriptor, getPrototypeOf, ownKeys, apply, has } = Reflect;

interface Holder {
  readonly name: string;
  readonly object: object;
  /** Nothing is added to it by ordinary code. Others (globalThis, process) have keys for the state of programs. */
  readonly isClosed: boolean;
  /** Of functions; data that is not a function is state. */
  readonly keys: PropertyKey[];
  readonly values: unknown[];
  readonly accessors: Accessor[];
  readonly known: Set<PropertyKey>;
  parent: object | null;
  count: number;
}

interface Accessor {
  readonly key: PropertyKey;
  get: PropertyDescriptor['get'];
  readonly set: PropertyDescriptor['set'];
}

/** Modules of Node whose functions are patched most: requests, files, timers, events. */
const modules = [
  'http',
  'https',
  'net',
  'tls',
  'dns',
  'fs',
  'fs/promises',
  'child_process',
  'timers',
  'timers/promises',
  'events',
  'stream',
  'util',
  'url',
  'zlib',
] as const;

/** Globals behind a getter that are loaded anyway; others are watched from when they are first read. */
const readGlobals: ReadonlySet<PropertyKey> = new Set([
  'process',
  'Buffer',
  'performance',
  'crypto',
]);

const isObject = (value: unknown): value is object =>
  (typeof value === 'object' && value !== null) || typeof value === 'function';

const nameOf = (key: PropertyKey): string =>
  typeof key === 'symbol' ? `[${key.description ?? 'symbol'}]` : `.${String(key)}`;

const proto = (value: unknown): object => Object(getPrototypeOf(Object(value)));

/** Objects that only syntax reaches. */
function syntaxObjects(): Readonly<Record<string, object>> {
  return {
    '%ArrayIterator%': proto([][Symbol.iterator]()),
    '%MapIterator%': proto(new Map().keys()),
    '%SetIterator%': proto(new Set().keys()),
    '%StringIterator%': proto(''[Symbol.iterator]()),
    '%RegExpStringIterator%': proto(''.matchAll(/x/g)),
    '%Generator%': proto((function* () {})()),
    '%GeneratorFunction%': proto(function* () {}),
    '%AsyncFunction%': proto(async () => {}),
    '%AsyncGenerator%': proto((async function* () {})()),
    '%AsyncGeneratorFunction%': proto(async function* () {}),
  };
}

export class BuiltIns {
  readonly #holders: Holder[] = [];
  readonly #seen = new Set<object>();
  #accepted = false;

  /** Before any handler's code is loaded. */
  constructor() {
    const ofLanguage = new Set<PropertyKey>(
      ownKeys(Object(runInNewContext('globalThis'))).filter((key) => key !== 'console'),
    );
    watchLazyGlobals(readGlobals, (key, value) => this.#loaded(key, value));
    this.#add('globalThis', globalThis, false);
    for (const key of ownKeys(globalThis)) {
      const value: unknown = readGlobals.has(key)
        ? Reflect.get(globalThis, key)
        : getOwnPropertyDescriptor(globalThis, key)?.value;
      if (isObject(value) && value !== globalThis) {
        this.#addWithPrototypes(String(key), value, ofLanguage.has(key));
      }
    }
    for (const [name, object] of Object.entries(syntaxObjects()))
      this.#addWithPrototypes(name, object, true);
    this.#add('process.stdout', process.stdout, false);
    this.#add('process.stderr', process.stderr, false);
    for (const name of modules) {
      const module: unknown = getBuiltinModule(name);
      if (isObject(module)) this.#addWithPrototypes(`node:${name}`, module, false);
    }
  }

  /** What is there now is right: patches that the handlers' module made while it loaded are its own. */
  accept(): void {
    this.#accepted = true;
    this.#acceptFrom(0);
  }

  #acceptFrom(first: number): void {
    for (let i = first; i < this.#holders.length; i += 1) {
      const holder = this.#holders[i];
      if (holder === undefined) continue;
      const { object, known } = holder;
      holder.keys.length = 0;
      holder.values.length = 0;
      holder.accessors.length = 0;
      known.clear();
      const keys = ownKeys(object);
      holder.count = keys.length;
      holder.parent = getPrototypeOf(object);
      for (const key of keys) {
        known.add(key);
        const { value, get, set } = getOwnPropertyDescriptor(object, key) ?? {};
        if (get !== undefined || set !== undefined) holder.accessors.push({ key, get, set });
        const isRead = object === globalThis && readGlobals.has(key);
        const held: unknown = isRead ? Reflect.get(object, key) : value;
        if (typeof held === 'function' || (isObject(held) && this.#seen.has(held))) {
          holder.keys.push(key);
          holder.values.push(held);
        }
      }
    }
  }

  /** The first property that differs, as code would name it; undefined when there is none. */
  firstChange(): string | undefined {
    for (let i = 0; i < this.#holders.length; i += 1) {
      const holder = this.#holders[i];
      const key = holder === undefined ? undefined : changedKey(holder);
      if (holder !== undefined && key !== undefined) return `${holder.name}${nameOf(key)}`;
    }
    return undefined;
  }

  /** Nobody has it yet: it is as Node made it. */
  #loaded(key: PropertyKey, value: unknown): void {
    if (!isObject(value) || this.#seen.has(value)) return;
    const first = this.#holders.length;
    this.#addWithPrototypes(String(key), value, false);
    if (this.#accepted) this.#acceptFrom(first);
  }

  #addWithPrototypes(name: string, object: object, isClosed: boolean): void {
    this.#add(name, object, isClosed);
    for (const key of ownKeys(object)) {
      const value: unknown = getOwnPropertyDescriptor(object, key)?.value;
      if (key === 'prototype' && isObject(value)) this.#add(`${name}.prototype`, value, isClosed);
      // Classes of a namespace (Intl.NumberFormat) or of a module.
      else if (typeof value === 'function' && typeof object === 'object') {
        const inner: unknown = getOwnPropertyDescriptor(value, 'prototype')?.value;
        const own = `${name}${nameOf(key)}`;
        if (isObject(inner) && ownKeys(inner).length > 1) {
          this.#add(own, value, isClosed);
          this.#add(`${own}.prototype`, inner, isClosed);
        }
      }
    }
    const parent = getPrototypeOf(object);
    if (parent !== null) this.#addWithParents(name, parent, isClosed);
  }

  #addWithParents(name: string, object: object, isClosed: boolean): void {
    this.#add(`${name}.__proto__`, object, isClosed);
    const parent = getPrototypeOf(object);
    if (parent !== null) this.#addWithParents(`${name}.__proto__`, parent, isClosed);
  }

  #add(name: string, object: object, isClosed: boolean): void {
    if (this.#seen.has(object)) return;
    this.#seen.add(object);
    const lists = { keys: [], values: [], accessors: [], known: new Set<PropertyKey>() };
    this.#holders.push({ name, object, isClosed, ...lists, parent: null, count: 0 });
  }
}

/** Loops by index: an iterator could be what was patched. */
function changedKey(holder: Holder): PropertyKey | undefined {
  const { object, keys, values, accessors } = holder;
  for (let i = 0; i < keys.length; i += 1) {
    const key = keys[i];
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- any object can be indexed
    if (key !== undefined && (object as Record<PropertyKey, unknown>)[key] !== values[i])
      return key;
  }
  for (let i = 0; i < accessors.length; i += 1) {
    const accessor = accessors[i];
    if (accessor !== undefined && isReplaced(object, accessor)) return accessor.key;
  }
  if (getPrototypeOf(object) !== holder.parent) return '__proto__';
  const now = ownKeys(object);
  if (now.length === holder.count) return undefined;
  return addedKey(holder, now);
}

function isReplaced(object: object, { key, get, set }: Accessor): boolean {
  const found = getOwnPropertyDescriptor(object, key);
  if (found === undefined) return true;
  if (found.get === get && found.set === set) return false;
  // Node puts the value in the place of the getter when it is first read.
  return get === undefined || found.get !== undefined || apply(get, object, []) !== found.value;
}

function addedKey(
  { object, isClosed, known, parent }: Holder,
  now: readonly PropertyKey[],
): PropertyKey | undefined {
  for (let i = 0; i < now.length; i += 1) {
    const key = now[i];
    if (key === undefined || known.has(key)) continue;
    if (isClosed || (parent !== null && has(parent, key) && isCode(object, key))) return key;
  }
  return undefined;
}

/** A value of any other type is state, such as the count of the listeners of a stream. */
function isCode(object: object, key: PropertyKey): boolean {
  const { value, get } = getOwnPropertyDescriptor(object, key) ?? {};
  return get !== undefined || typeof value === 'function';
}
