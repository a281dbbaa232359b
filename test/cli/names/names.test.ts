/** Every name at every door: forms that people cannot see or tell apart are refused, by the same rule in the same words. */
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { allCommands } from '../../../src/cli/commands.ts';
import { describeConfig } from '../../../src/config.ts';
import { isStorable, nameDoors, nameFault, quotedName } from '../../../src/names.ts';
import type { NameKind } from '../../../src/names.ts';
import { addJobType } from '../../jobs/job-steps.ts';
import { invokeWith } from '../in-process.ts';
import { freshDatabase } from '../../support/database.ts';
import type { TestDatabase } from '../../support/database.ts';
import { triedDoors } from './doors.ts';
import type { DoorContext } from './doors.ts';
import { badForms, goodForms, unpassable } from './forms.ts';

let test: TestDatabase;
let context: DoorContext;
beforeAll(async () => {
  test = await freshDatabase();
  const folder = await mkdtemp(join(tmpdir(), 'purser-names-'));
  context = { sql: test.sql, invoke: invokeWith({ DATABASE_URL: test.url }), folder };
  await test.sql`insert into tenants (id) values ('t')`;
  await addJobType(test.sql, 'known_type');
});
afterAll(async () => {
  await rm(context.folder, { recursive: true });
  await test.close();
});

const doors: [door: string, kind: NameKind][] = Object.entries(nameDoors);
const isColumn = (door: string): boolean => /^(public|purser)\./.test(door);
const isVariable = (door: string): boolean => /^[A-Z_]+$/.test(door);
const tryDoor = async (door: string, name: string): Promise<string | undefined> =>
  triedDoors[door]?.(context, name);

describe('the list of doors', () => {
  it('has a trial for each', () => {
    expect(Object.keys(triedDoors).toSorted()).toEqual(Object.keys(nameDoors).toSorted());
  });

  it('has every function of the sources that checks a new name', () => {
    const sources = fileURLToPath(new URL('../../../src/', import.meta.url));
    const found = readdirSync(sources, { recursive: true, encoding: 'utf8' })
      .filter((file) => /\.tsx?$/.test(file) && file !== 'names.ts')
      .flatMap((file) =>
        readFileSync(sources + file, 'utf8')
          .split(/\n(?=(?:export )?(?:async )?function |const )/)
          .filter((part) => /\b(name|group)Fault\(/.test(part))
          .map((part) => `${file} ${/(?:function|const) (\w+)/.exec(part)?.[1] ?? ''}`),
      );
    // Of names that the database did not know, and of the variables.
    const others = ['jobs/enqueue.ts faultOfUnknown', 'variable-types.ts nameText'];
    const listed = Object.keys(nameDoors).filter((door) => door.includes(' '));
    expect(found.toSorted()).toEqual([...listed, ...others].toSorted());
  });

  it('has every column with a rule, and every other column of text is known to hold no name', async () => {
    const triggers = await test.sql<{ table: string; args: Buffer; update: string[] }[]>`
      select c.relnamespace::regnamespace || '.' || c.relname as table, tgargs as args,
        array(select attname::text from pg_attribute where attrelid = tgrelid and attnum = any(tgattr)) as update
      from pg_trigger join pg_class c on c.oid = tgrelid where tgfoid = 'purser.check_names'::regproc`;
    const ruled = triggers.flatMap(({ table, args, update }) => {
      const words = args.toString('utf8').split('\0').slice(0, -1);
      const columns = words.filter((_, at) => at % 2 === 0);
      expect(columns.toSorted()).toEqual(update.toSorted());
      return columns.map((name, at) => [`${table}.${name}`, words[2 * at + 1]]);
    });
    const listed = doors.filter(([door]) => isColumn(door));
    expect(Object.fromEntries(ruled)).toEqual(Object.fromEntries(listed));
    const columns = await test.sql<{ name: string }[]>`
      select 'public.' || a.attrelid::regclass || '.' || a.attname as name
      from pg_attribute a join pg_class r on r.oid = a.attrelid
      where r.relnamespace = 'public'::regnamespace and r.relkind in ('r', 'p') and a.attnum > 0
        and not a.attisdropped and a.atttypid = 'text'::regtype and a.attgenerated = ''
        and not exists (select from pg_constraint f
          where f.conrelid = a.attrelid and f.contype = 'f' and a.attnum = any(f.conkey))`;
    const unknown = columns
      .map(({ name }) => name)
      .filter((name) => nameDoors[name] === undefined && !noNames.test(name));
    expect(unknown).toEqual([]);
  });

  it('has every variable of the environment that is a name', () => {
    const listed = doors.map(([door]) => door).filter(isVariable);
    const named = describeConfig()
      .map(({ name }) => name)
      .filter((name) => /(_USER|_MODEL|_NAME|_TENANT|_TYPE)$/.test(name));
    expect(named.toSorted()).toEqual(listed.toSorted());
  });

  it('has every word of a command, or it looks a name up, or is no name', async () => {
    const words = (await allCommands()).flatMap(({ path, positionals = [], options = {} }) => [
      ...positionals.map(({ name }) => `${path} ${name}`),
      ...Object.entries(options)
        .filter(([, { value }]) => value !== undefined)
        .map(([name]) => `${path} --${name}`),
    ]);
    const unknown = words.filter(
      (word) => !madeAt.test(word) && !lookedUp.test(word) && !noWords.test(word),
    );
    expect(unknown).toEqual([]);
  });
});

/** Written by the fleet, by a provider or by an export; keys and free text. */
const noNames =
  /^public\.(operator_acts|operator_sessions|analyses|background_jobs|jobs|cost_\w+|heartbeats|ingest_errors|job_(events|keys|log_lines)|llm_(adjustments|alerts|breakers|budget_periods|budgets|deleted_budgets|fleet_scopes|ledger|limit_changes|look_ups|period_checkpoints|pins|provider_keys|refusals|reservations|scope_periods|scopes|spend_days|spend_months|stops|top_ups|usage|usage_items))\.|\.(credentials|failure|file_hash|file_name|format|state|on_budget|reason|paused_reason|scope|role|password_hash|(next_)?(cron|zone)|missed)$|^public\.(pauses\.name|job_limits\.(tenant_id|job_type|group_name)|llm_price_versions\.(source|provider))$/;
const madeAt =
  /^(operators add NAME|tokens add NAME|tenants add ID|handlers new TYPE|accounts add --(name|account-id)|ingest --source|enqueue --group|limits set --group|prices (set|clear) --model|.* --by)$/;
const lookedUp =
  /^(operators (set-role|set-password|remove) NAME|operators (end|sessions) --operator|tokens remove NAME|llm breakers reset BREAKER|llm keys (set|remove) TENANT|tenants (set-(limits ID|plan (ID|PLAN))|remove ID)|tenants add --plan|enqueue TYPE|schedules \w+ TYPE|accounts remove --account-id|limits clear --group|prices (sync|show) --(model|provider)|prices (set|clear) --provider|.* --(tenant|type|cohort)|limits (set|clear) --plan|(jobs|dlq) \w+ --plan)$/;
const noWords =
  /^(start ROLE|ingest URL|(jobs|dlq) \w+ ID|dlq batches \w+ ID|budget resolve RESERVATION|why JOB|drain WORKER|operators (set-role ROLE|end SESSION)|.* --(focus|file|port|data|wait|steps|credentials-file|key-file|format|tenant-column|payload|dedup-key|priority|run-at|state|limit|logs|reason|operator|act|job|since|monthly-limit|running|dir|weight|max-backlog-(jobs|bytes)|cron|zone|splay|missed|most|count|starts|per|usd|evidence|provider|model|calls-(per-minute|in-flight)|kind|subject|each|calls|from|input|output|cache-(read|write)|per-request|rate|month|older-than|order|to|rounding|project|key|password-file|role|expires|code|fingerprint|text|since|until|attempt|id|replays-of|batch|pace)|(jobs|dlq) \w+ --group)$/;

it('every bad form of every name is refused at every door, quoted, with what is allowed', async () => {
  const faults: unknown[] = [];
  let refused = 0;
  for (const [door, kind] of doors) {
    for (const [why, name] of badForms) {
      const said = await tryDoor(door, name);
      refused += 1;
      const expected = String(nameFault(kind, name));
      const clear = isVariable(door)
        ? said?.includes(door) === true
        : unpassable.test(name)
          ? said !== undefined && (isColumn(door) || said.includes(expected))
          : isColumn(door)
            ? said === `invalid_name: ${expected}`
            : said?.includes(expected) === true && said.includes(quotedName(name));
      if (!clear) faults.push([door, why, said]);
    }
  }
  process.stderr.write(
    `  ${doors.length} doors, ${badForms.length} forms, ${refused} names refused\n`,
  );
  expect(faults).toEqual([]);
}, 120_000);

it('names that users have pass every door', async () => {
  const faults: unknown[] = [];
  let passed = 0;
  for (const [door, kind] of doors) {
    const names = goodForms(kind).filter(
      (name) => !isVariable(door) || /^[!-9;-~][ -9;-~]*$/.test(name),
    );
    for (const name of names) {
      const said = await tryDoor(door, name);
      passed += 1;
      if (said !== undefined) faults.push([door, name, said]);
    }
  }
  process.stderr.write(`  ${passed} names passed\n`);
  expect(faults).toEqual([]);
}, 120_000);

it('a name that is looked up and is not there is refused with its fault', async () => {
  const lookups: ((name: string) => string[])[] = [
    (name) => ['tenants', 'set-plan', '--', name, 'pro'],
    (name) => ['tenants', 'set-plan', '--', 't', name],
    (name) => ['tenants', 'set-limits', '--weight=2', '--', name],
    (name) => ['enqueue', 'known_type', `--tenant=${name}`],
    (name) => ['enqueue', '--tenant=t', '--', name],
    (name) => ['pause', '--reason=x', `--tenant=${name}`],
    (name) => ['pause', '--reason=x', `--type=${name}`],
    (name) => ['jobs', 'list', `--tenant=${name}`],
    (name) => ['dlq', 'list', `--type=${name}`],
    (name) => ['budget', 'show', `--tenant=${name}`],
    (name) => ['prices', 'show', `--tenant=${name}`],
    (name) => ['prices', 'clear', '--model=m', '--reason=x', `--tenant=${name}`],
    (name) => ['budget', 'set', '--monthly-limit=1', `--tenant=${name}`],
    (name) => ['accounts', 'list', `--tenant=${name}`],
    (name) => ['limits', 'set', '--running=1', `--tenant=${name}`],
    (name) => ['limits', 'clear', `--type=${name}`],
  ];
  const names = [' t', 't\u200b', 'te\u0301'];
  for (const args of lookups) {
    for (const name of names) {
      const { code, err } = await context.invoke(...args(name));
      expect([args(name), code !== 0, err]).toEqual([
        args(name),
        true,
        expect.stringMatching(/visible characters|use lower-case/),
      ]);
      expect(err).toContain(quotedName(name));
    }
  }
}, 240_000);

describe('a tenant whose id the rule would refuse, but which is there', () => {
  it('goes on: it is found, changed, given work, and added again without an error', async () => {
    await test.sql.begin(async (tx) => {
      await tx`alter table tenants disable trigger check_names`;
      await tx`insert into tenants (id) values (' old')`;
      await tx`alter table tenants enable trigger check_names`;
    });
    const { invoke } = context;
    expect(await invoke('tenants', 'set-plan', '--', ' old', 'pro')).toMatchObject({ code: 0 });
    expect(await invoke('enqueue', 'known_type', '--tenant= old')).toMatchObject({ code: 0 });
    expect(await invoke('pause', '--reason=x', '--tenant= old')).toMatchObject({ code: 0 });
    await test.sql`insert into tenants (id) values (' old') on conflict do nothing`;
    await test.sql`update tenants set id = id, last_active_at = now() where id = ' old'`;
  });
});

/** What is assigned in Unicode but for more ideographs and private use. */
const planes = 0x1ffff;
const tags = [0xdfff0, 0xe1010] as const;

it('Postgres and this code refuse the same characters, in the same words', async () => {
  const rows = await test.sql<{ point: number; fault: string }[]>`
    select n as point, fault from (
      select n from generate_series(1, ${planes}::int) n
      union all select n from generate_series(${tags[0]}::int, ${tags[1]}::int) n) points
    cross join lateral (select purser.name_fault('source', '/' || chr(n) || '/') as fault) f
    where n not between 55296 and 57343 and fault is not null`;
  const theirs = new Map(rows.map(({ point, fault }) => [point, fault]));
  const differing: unknown[] = [];
  for (let point = 1; point <= tags[1]; point += 1) {
    if (point > planes && point < tags[0]) point = tags[0];
    const name = `/${String.fromCodePoint(point)}/`;
    if (!isStorable(name)) continue;
    const ours = nameFault('source', name);
    // The tables of Unicode differ in their version: what is new composes with nothing older.
    if (ours !== theirs.get(point)) differing.push([point.toString(16), ours, theirs.get(point)]);
  }
  process.stderr.write(`  ${theirs.size} characters refused\n`);
  expect(differing).toEqual([]);
}, 120_000);
