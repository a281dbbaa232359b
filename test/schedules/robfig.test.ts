/**
 * The cases of robfig/cron, where they are on this machine. Its `TZ=` prefix is the zone of the schedule here. Wall times
 * without a zone are read as UTC.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { parseExpression } from '../../src/schedules/expression.ts';

const file = join(import.meta.dirname, '../../../shared/vectors/cron/robfig_next_cases.json');

const moved = 'a tick in the hour that is left out comes an hour later: a daily job is not dropped';
const once = 'a tick of a named hour comes once on the day of the repeated hour, not twice';

/** By time and expression: what differs on purpose. */
const notSupported: Readonly<Record<string, string>> = {
  '2012-03-11T00:00:00-0500 TZ=America/New_York 0 30 2 11 Mar ?': moved,
  '2012-03-11T00:00:00-0500 TZ=America/New_York 0 0 2 * * ?': moved,
  '2012-11-04T01:45:00-0400 TZ=America/New_York 0 30 1 04 Nov ?': once,
  '2012-11-04T01:00:00-0400 TZ=America/New_York 0 0 1 * * ?': once,
  'TZ=America/New_York 2012-11-04T01:00:00-0400 0 0 1 * * ?': once,
};

const text = z.object({ time: z.string(), spec: z.string() });
const cases = z.object({
  activation_5field: z.array(text.extend({ expected: z.boolean() })),
  next_6field_seconds_first: z.array(text.extend({ expected: z.string() })),
});

const zonePrefix = /^(?:CRON_)?TZ=(\S+) /;
const withoutZone = (part: string): string => part.replace(zonePrefix, '');
const instantOf = (time: string): number =>
  Date.parse(
    /^\d{4}-/.test(time)
      ? time.replace(/(\d\d)(\d\d)$/, '$1:$2')
      : `${time.replace(/^\w+ /, '')} UTC`,
  );

describe.skipIf(!existsSync(file))(`${file} (skipped where it is not there)`, () => {
  const given = existsSync(file) ? cases.parse(JSON.parse(readFileSync(file, 'utf8'))) : undefined;
  const activation = given?.activation_5field ?? [];
  const next = given?.next_6field_seconds_first ?? [];

  it('has 87 cases', () => {
    expect(activation.length + next.length).toBe(87);
  });

  it.each(activation)('$spec at $time: $expected', ({ time, spec, expected }) => {
    const at = instantOf(time);
    expect(parseExpression(spec, 'UTC').next(at - 1) === at).toBe(expected);
  });

  const answers = next.map(({ time, spec, expected }) => ({
    title: `${spec} after ${time}: ${expected || 'never'}`,
    reason: notSupported[`${time} ${spec}`],
    zone: (zonePrefix.exec(spec) ?? zonePrefix.exec(time))?.[1] ?? 'UTC',
    spec: withoutZone(spec),
    from: instantOf(withoutZone(time)),
    wanted: expected === '' ? undefined : instantOf(expected),
  }));

  it.each(answers.filter(({ reason }) => reason === undefined))(
    '$title',
    ({ spec, zone, from, wanted }) => {
      expect(parseExpression(spec, zone).next(from)).toBe(wanted);
    },
  );

  it.each(answers.filter(({ reason }) => reason !== undefined))(
    '$title. Not supported: $reason',
    ({ spec, zone, from, wanted }) => {
      expect(parseExpression(spec, zone).next(from)).not.toBe(wanted);
    },
  );

  it('names no case that is not there', () => {
    const names = next.map(({ time, spec }) => `${time} ${spec}`);
    expect(names).toEqual(expect.arrayContaining(Object.keys(notSupported)));
  });
});
