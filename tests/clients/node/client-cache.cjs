// node-redis with its client-side cache: the server tells the client which keys have changed.
//
// Usage: client-cache.cjs HOST:PORT 3. Knows nothing of an ambassador. Prints a transcript (see transcript.cjs).
'use strict';
const { createClient } = require('redis');
const { version } = require('redis/package.json');
const { emit, finish, pause, range } = require('./transcript.cjs');

const [host, port] = process.argv[2].split(':');
const connect = (options = {}) => {
  const client = createClient({ socket: { host, port: Number(port) }, RESP: Number(process.argv[3]), ...options });
  client.on('error', (error) => process.stderr.write(`${error}\n`));
  return client.connect();
};

// The value that is read last: the message about a change travels beside the writer's reply, not before it.
async function become(read, wanted) {
  const deadline = Date.now() + 5000;
  for (;;) {
    const value = await read();
    if (JSON.stringify(value) === JSON.stringify(wanted) || Date.now() >= deadline) return value;
    await pause(2);
  }
}

// How many GETs the server ran.
const gets = async (client) => Number(/cmdstat_get:calls=(\d+)/.exec(await client.info('commandstats'))?.[1] ?? 0);

async function main() {
  const cached = await connect({ clientSideCache: { ttl: 0, maxEntries: 0, evictPolicy: 'LRU' } });
  const writer = await connect();
  await writer.mSet({ a: 'one', b: 'two' });
  emit('cache.first', await become(() => cached.get('a'), 'one'));
  const before = await gets(writer);
  const hits = [];
  for (let i = 0; i < 50; i += 1) hits.push(await cached.get('a'));
  emit('cache.hits', hits);
  emit('cache.asked_the_server', await gets(writer) - before);
  for (const number of range(20)) {
    await writer.set('a', `value ${number}`);
    emit('cache.invalidated', await become(() => cached.get('a'), `value ${number}`));
  }
  await writer.hSet('h', 'f', 'v');
  emit('cache.hash', await become(() => cached.hGet('h', 'f'), 'v'));
  await writer.hSet('h', 'f', 'w');
  emit('cache.hash_changed', await become(() => cached.hGet('h', 'f'), 'w'));
  await cached.set('a', 'mine');
  emit('cache.own_write', await become(() => cached.get('a'), 'mine'));
  await writer.del('a');
  emit('cache.deleted', await become(() => cached.get('a'), null));
  emit('cache.multi', await cached.multi().set('t', 1).incr('t').get('t').exec());
  await writer.flushAll();
  emit('cache.flushed', await become(() => cached.get('b'), null));
  await Promise.all([cached.close(), writer.close()]);
  finish(`node-redis ${version} with cache`);
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
