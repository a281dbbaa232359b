/**
 * Merges what the tests covered in their own process with what the child processes they spawned
 * covered, prints the line coverage of src, and exits 1 when it is under the bar.
 * Usage: node --import tsx test/support/coverage-report.ts
 */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import type { Profiler } from 'node:inspector';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import v8ToIstanbul from 'v8-to-istanbul';
import { z } from 'zod';

const barPercent = 85;
const listedFiles = 12;
const root = fileURLToPath(new URL('../..', import.meta.url));
const dist = join(root, 'dist');

const fileCoverage = z.object({
  statementMap: z.record(z.string(), z.object({ start: z.object({ line: z.number() }) })),
  s: z.record(z.string(), z.number()),
});
const coverageMap = z.record(z.string(), fileCoverage);
type CoverageMap = z.infer<typeof coverageMap>;

/** Hits per line of one file. */
type Lines = Map<number, number>;

function linesOf(map: CoverageMap): Map<string, Lines> {
  return new Map(
    Object.entries(map).map(([path, file]) => {
      const lines: Lines = new Map();
      for (const [id, { start }] of Object.entries(file.statementMap)) {
        lines.set(start.line, Math.max(lines.get(start.line) ?? 0, file.s[id] ?? 0));
      }
      return [path, lines];
    }),
  );
}

/** What of it ran, without how often: the same for most of the children that loaded a script. */
const withoutCounts = (functions: readonly Profiler.FunctionCoverage[]) =>
  functions.map((each) => ({
    ...each,
    ranges: each.ranges.map((range) => ({ ...range, count: Math.min(range.count, 1) })),
  }));

/** Every different coverage of each script of dist. Script -> coverages as JSON. */
async function coverages(paths: readonly string[]): Promise<Map<string, Set<string>>> {
  const different = new Map<string, Set<string>>();
  for (const path of paths) {
    const report: { result: Profiler.ScriptCoverage[] } = JSON.parse(await readFile(path, 'utf8'));
    for (const { url, functions } of report.result) {
      if (!url.startsWith('file:') || !fileURLToPath(url).startsWith(dist)) continue;
      const known = different.get(url) ?? new Set();
      different.set(url, known.add(JSON.stringify(withoutCounts(functions))));
    }
  }
  return different;
}

/** Source lines that any child ran, by way of the source maps that the build left in dist. */
async function childLines(folder: string): Promise<Map<string, Lines>> {
  const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith('.json'));
  const merged = new Map<string, Lines>();
  for (const [url, different] of await coverages(names.map((name) => join(folder, name)))) {
    for (const functions of different) {
      const converter = v8ToIstanbul(fileURLToPath(url));
      await converter.load();
      converter.applyCoverage(JSON.parse(functions));
      for (const [path, lines] of linesOf(coverageMap.parse(converter.toIstanbul()))) {
        const known = merged.get(path) ?? new Map<number, number>();
        for (const [line, hits] of lines) known.set(line, (known.get(line) ?? 0) + hits);
        merged.set(path, known);
      }
      converter.destroy();
    }
  }
  process.stdout.write(`Coverage of ${names.length} child processes merged.\n`);
  return merged;
}

const own = linesOf(
  coverageMap.parse(JSON.parse(await readFile(join(root, 'coverage/coverage-final.json'), 'utf8'))),
);
const children = await childLines(join(root, 'coverage', 'children'));

let total = 0;
let covered = 0;
const files: { path: string; percent: number; missed: number[] }[] = [];
for (const [path, lines] of own) {
  // Which lines count as code is vitest's judgement, made from the syntax tree; children add hits.
  const hits = children.get(path);
  const missed = [...lines.keys()].filter(
    (line) => (lines.get(line) ?? 0) === 0 && (hits?.get(line) ?? 0) === 0,
  );
  total += lines.size;
  covered += lines.size - missed.length;
  const percent = lines.size === 0 ? 100 : (100 * (lines.size - missed.length)) / lines.size;
  files.push({ path: relative(root, path), percent, missed });
}

const percent = total === 0 ? 0 : (100 * covered) / total;
await writeFile(
  join(root, 'coverage', 'merged.json'),
  JSON.stringify({ percent, covered, total, files }, null, 1),
);
for (const file of files
  .filter(({ missed }) => missed.length > 0)
  .toSorted((one, other) => other.missed.length - one.missed.length)
  .slice(0, listedFiles)) {
  process.stdout.write(
    `  ${file.percent.toFixed(0).padStart(3)} %  ${file.path}: ${file.missed.length} lines missed\n`,
  );
}
process.stdout.write(
  `Line coverage of src, children merged: ${percent.toFixed(2)} % (${covered} of ${total} lines)\n`,
);
if (percent < barPercent) {
  process.stderr.write(`Line coverage is under ${barPercent} %; see coverage/merged.json\n`);
  process.exitCode = 1;
}
