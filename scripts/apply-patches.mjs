/**
 * Applies patches/ to node_modules; npm's `prepare` runs it, with or without development dependencies. A patch is a
 * unified diff against the package as published and the patches before it, named as patch-package names them:
 * PACKAGE+VERSION+NNN+WHAT.patch. patch-package could apply them too, but brings 59 packages into every
 * production installation. Changes all files or none; safe to repeat; on an unknown version of a
 * package, or one that was changed otherwise, it ends with exit code 1 and names the fix.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { applyPatch, parsePatch, reversePatch } from 'diff';

const root = new URL('../', import.meta.url);
const patchName = /^(?<name>[^+]+)\+(?<version>[^+]+)\+\d{3}\+[^+]+\.patch$/;

function fail(message) {
  console.error(`apply-patches: ${message}`);
  process.exit(1);
}

/** The diffs of patches/ in their order, by package. */
function readPatches() {
  const packages = new Map();
  const files = readdirSync(new URL('patches/', root)).filter((file) => file.endsWith('.patch'));
  for (const file of files.toSorted()) {
    const parts = patchName.exec(file)?.groups;
    if (parts === undefined) fail(`patches/${file} is not named PACKAGE+VERSION+NNN+WHAT.patch`);
    const { name, version } = parts;
    const known = packages.get(name) ?? { name, version, diffs: [] };
    if (known.version !== version) fail(`patches/ has two versions of ${name}; keep one`);
    known.diffs.push(...parsePatch(readFileSync(new URL(`patches/${file}`, root), 'utf8')));
    packages.set(name, known);
  }
  return [...packages.values()];
}

const pathOf = (diff) => diff.newFileName.replace(/^b\//, '');

/** The texts after all diffs, by path; undefined when one does not fit. */
function applyAll(texts, diffs, inverse) {
  const result = new Map(texts);
  for (const diff of inverse ? diffs.toReversed() : diffs) {
    const path = pathOf(diff);
    const text = applyPatch(result.get(path), inverse ? reversePatch(diff) : diff);
    if (text === false) return undefined;
    result.set(path, text);
  }
  return result;
}

function patchPackage({ name, version, diffs }) {
  const folder = `node_modules/${name}`;
  const manifest = new URL(`${folder}/package.json`, root);
  if (!existsSync(manifest)) fail(`${folder} is missing. Run: npm ci`);
  const found = JSON.parse(readFileSync(manifest, 'utf8')).version;
  if (found !== version) {
    fail(
      `patches/ is made for ${name} ${version}, but ${folder} has ${found}. Run: npm ci\n` +
        `  If package.json names ${found} on purpose, make the patches anew (CONTRIBUTING.md, "Patches").`,
    );
  }
  const texts = new Map();
  for (const path of diffs.map(pathOf)) {
    const url = new URL(path, root);
    texts.set(path, existsSync(url) ? readFileSync(url, 'utf8') : '');
  }
  if (applyAll(texts, diffs, true) !== undefined) return;
  const patched = applyAll(texts, diffs, false);
  if (patched === undefined) {
    fail(
      `${folder} is neither ${name} ${version} as published nor as patches/ leaves it ` +
        '(patched by an older release, or edited). Run: npm ci',
    );
  }
  for (const [path, text] of patched) writeFileSync(new URL(path, root), text);
}

for (const each of readPatches()) patchPackage(each);
