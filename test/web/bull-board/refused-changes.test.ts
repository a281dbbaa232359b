import { appRoutes } from '@bull-board/api/dist/routes.js';
import { expect, it } from 'vitest';
import { allCommands } from '../../../src/cli/commands.ts';
import { refusalOf } from '../../../src/web/bull-board/refused-changes.ts';

const commands = await allCommands();

const changing = appRoutes.api.filter(({ method }) => method !== 'get');
const paths = changing.flatMap(({ route }) => [route].flat());
const refused = ['report', 'dead-letter'].flatMap((queue) =>
  paths.map((path) =>
    path
      .replace('/api/', '')
      .replace(':queueName', queue)
      .replace(':jobId', queue === 'report' ? '12-3' : 'dead-12'),
  ),
);

it.each([...refused, 'queues/report/12-3/a-new-button'])(
  'names an existing command with its required arguments: %s',
  (path) => {
    const [purser, ...words] = refusalOf(path).command.split(' ');
    expect(purser).toBe('purser');
    const command = commands.find((candidate) =>
      `${words.join(' ')} `.startsWith(`${candidate.path} `),
    );
    expect(command).toBeDefined();
    const given = words.slice(command?.path.split(' ').length);
    const firstOption = given.findIndex((word) => word.startsWith('--'));
    const positionals = firstOption < 0 ? given : given.slice(0, firstOption);
    const options = given.filter((word) => word.startsWith('--')).map((word) => word.slice(2));
    const declared = command?.options ?? {};
    const needed = Object.keys(declared).filter((name) => declared[name]?.required === true);
    const places = command?.positionals ?? [];
    const isFitting =
      positionals.length >= places.filter(({ required }) => required).length &&
      positionals.length <= places.length;
    expect([positionals, isFitting]).toEqual([positionals, true]);
    expect(Object.keys(declared)).toEqual(expect.arrayContaining(options));
    expect(options).toEqual(expect.arrayContaining(needed));
  },
);

it('names the help for unknown paths', () => {
  expect(refusalOf('metrics/history/purge').command).toBe('purser --help');
  expect(refusalOf('').command).toBe('purser --help');
  expect(refusalOf('queues/%E0%A4%A/x').command).toMatch(/^purser /);
});
