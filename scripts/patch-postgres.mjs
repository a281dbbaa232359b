/**
 * Mends postgres.js 3.4.9 in place. When a server session ends inside a transaction, the driver writes to a
 * socket that is gone (which throws where nobody can catch it), hands the old session's error and queue to
 * the next session. And code of a transaction that is over can run statements in whatever transaction has
 * the connection next: with tenants, somebody else's. It is over for the server as soon as a statement of it
 * was COMMIT or ROLLBACK, and then the driver lends the connection on. Upstream issues 1066, 1154 and 1208; no
 * release yet. And statements sent ahead of an answer, which PgBouncer loses, cannot be switched off
 * (src/db/connect.ts).
 * `npm ci` runs this in a clone; the published package bundles the mended copy. Safe to repeat; refuses a
 * driver that it does not know.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const version = '3.4.9';
const mended = '/* mended by purser';
/** Of these very mends. */
const marker = `${mended}, 3 */`;
const lost = "Errors.connection('CONNECTION_CLOSED', options)";
const folder = new URL('../node_modules/postgres/', import.meta.url);

/** Each anchor stands exactly `times` (1) in its file; `put` says what stands there afterwards. */
const mends = {
  'src/connection.js': [
    {
      what: 'a query after the socket is gone fails as a query',
      anchor: `    if (stream)\n      return queryError(q, Errors.generic('COPY_IN_PROGRESS'`,
      put: (anchor) =>
        `    if (socket === null)\n      return queryError(q, ${lost}), true\n\n${anchor}`,
    },
    {
      what: 'max_pipeline: 0 is one statement at a time, also where a transaction begins',
      anchor:
        '        && sent.length < max_pipeline\n        && (!q.options.onexecute || q.options.onexecute(connection))\n',
      put: () =>
        '        && (!q.options.onexecute || q.options.onexecute(connection))\n        && sent.length < max_pipeline\n',
    },
    {
      what: 'a delayed write after the socket is gone writes nothing',
      anchor: '    const x = socket.write(chunk, fn)\n',
      put: (anchor) =>
        `    if (socket === null)\n      return chunk = nextWriteTimer = null, false\n${anchor}`,
    },
    {
      what: 'a terminated connection forgets what it had to write',
      anchor: '    clearImmediate(nextWriteTimer)\n    if (socket) {',
      put: () =>
        '    clearImmediate(nextWriteTimer)\n    chunk = nextWriteTimer = null\n    if (socket) {',
    },
    {
      what: 'a closed connection forgets what it had to write, and the error it was told',
      anchor: "    clearImmediate(nextWriteTimer)\n    socket.removeListener('data', data)",
      put: () =>
        "    clearImmediate(nextWriteTimer)\n    chunk = nextWriteTimer = errorResponse = null\n    socket.removeListener('data', data)",
    },
    {
      what: 'a closed connection answers everything that waits for it, so that nothing is left for the next session',
      anchor: '    socket = null\n\n    if (initial)\n      return reconnect()\n',
      put: () =>
        [
          '    socket = null',
          '',
          `    const gone = ${lost}`,
          '    stream && (stream.destroy(gone), stream = null)',
          '    final && (final(gone), final = null)',
          '    query && (queryError(query, gone), query = null)',
          '    while (sent.length)',
          '      queryError(sent.shift(), gone)',
          '',
          '    if (initial)',
          '      return reconnect()',
          '',
        ].join('\n'),
    },
    {
      what: 'a copy cannot write to a socket that is gone',
      anchor: '        socket.write(b().d().raw(chunk).end(), callback)\n',
      times: 2,
      put: (anchor) =>
        `        if (socket === null)\n          return callback(${lost})\n${anchor}`,
    },
    {
      what: 'a copy cannot report its failure to a socket that is gone',
      anchor: '        socket.write(b().f().str(error + b.N).end())',
      times: 2,
      put: (anchor) => `        socket !== null && ${anchor.trimStart()}`,
    },
    {
      what: 'a copy cannot end on a socket that is gone',
      anchor: '        socket.write(b().c().end())\n        final = callback',
      times: 2,
      put: (anchor) =>
        `        if (socket === null)\n          return callback(${lost})\n${anchor}`,
    },
    {
      what: 'a connection can be left without a word, also where a copy that nobody reads stands in its way',
      anchor: '    terminate,\n    execute,\n',
      put: () =>
        [
          '    terminate,',
          '    abandon() {',
          '      terminate()',
          '      socket && socket.destroy()',
          '    },',
          '    execute,',
          '',
        ].join('\n'),
    },
    {
      what: 'a copy that nobody waits for any more fails without crashing the process',
      anchor: '    query.resolve(stream)\n',
      times: 3,
      put: (anchor) => `    stream.on('error', () => {})\n${anchor}`,
    },
    {
      what: 'a transaction hears that it is over before its connection is lent on',
      anchor: `        ? ending\n          ? terminate()\n          : (connection.reserved = null, onopen(connection))\n`,
      put: () =>
        `        ? (connection.reserved.over(), ending\n          ? terminate()\n          : (connection.reserved = null, onopen(connection)))\n`,
    },
  ],
  'src/index.js': [
    {
      what: 'a transaction knows that its session is gone, or that it is over, answers what waits in it, and leaves no session that is still inside it',
      anchor:
        '        new Promise((_, reject) => connection.onclose = reject)\n      ])\n    } catch (error) {\n      throw error\n    }\n',
      put: () =>
        [
          '        new Promise((_, reject) => connection.onclose = error => {',
          '          gone = error',
          '          while (queries.length)',
          '            queries.shift().reject(error)',
          '          reject(error)',
          '        })',
          '      ])',
          '    } finally {',
          "      gone = gone || Errors.generic('TRANSACTION_ENDED', 'this transaction is over')",
          '      own !== null && connection.reserved === own && connection.abandon()',
          '    }',
          '',
        ].join('\n'),
    },
    {
      what: 'a transaction has a place to remember it',
      anchor: '    let savepoints = 0\n      , connection\n      , prepare = null\n',
      put: (anchor) => `${anchor}      , gone = null\n      , own = null\n`,
    },
    {
      what: 'a transaction that is over for the server is over for its code, and answers what waits in it',
      anchor:
        '        ? c.execute(queries.shift())\n        : move(c, reserved)\n    }\n  }\n\n  function move(',
      put: () =>
        [
          '        ? c.execute(queries.shift())',
          '        : move(c, reserved)',
          '      own = c.reserved',
          '      own.over = () => {',
          "        gone = gone || Errors.generic('TRANSACTION_ENDED', 'this transaction is over')",
          '        while (queries.length)',
          '          queries.shift().reject(gone)',
          '      }',
          '    }',
          '  }',
          '',
          '  function move(',
        ].join('\n'),
    },
    {
      what: 'a statement of a transaction that is over never runs in the next one',
      anchor: '        q.catch(e => uncaughtError || (uncaughtError = e))\n',
      put: (anchor) => `${anchor}        if (gone)\n          return q.reject(gone)\n`,
    },
  ],
};

function mend(file, edits) {
  const url = new URL(file, folder);
  let text = readFileSync(url, 'utf8');
  if (text.startsWith(marker)) return;
  if (text.startsWith(mended)) {
    throw new Error(`patch-postgres: ${fileURLToPath(url)} has older mends; run: npm ci`);
  }
  for (const { what, anchor, put, times = 1 } of edits) {
    const parts = text.split(anchor);
    if (parts.length !== times + 1) {
      throw new Error(
        `patch-postgres: ${what}: its place stands ${parts.length - 1} times in ${fileURLToPath(url)}`,
      );
    }
    text = parts.join(put(anchor));
  }
  writeFileSync(url, `${marker}\n${text}`);
}

if (existsSync(folder)) {
  const found = JSON.parse(readFileSync(new URL('package.json', folder), 'utf8')).version;
  if (found !== version) {
    throw new Error(
      `patch-postgres: made for postgres ${version}, found ${found}; check whether it is still needed`,
    );
  }
  for (const [file, edits] of Object.entries(mends)) mend(file, edits);
}
