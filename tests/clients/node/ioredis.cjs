// An application on ioredis: one connection for all commands, automatic resubscription, defineCommand, streams.
//
// Usage: ioredis.cjs HOST:PORT PROTOCOL. Knows nothing of an ambassador. Prints a transcript (see transcript.cjs).
'use strict';
const Redis = require('ioredis');
const { version } = require('ioredis/package.json');
const { digest, emit, everyByte, finish, mebibyte, outcome, pause, range, settle, until } = require('./transcript.cjs');

const [host, port] = process.argv[2].split(':');
const protocol = Number(process.argv[3]);
const connect = (options = {}) => new Redis({ host, port: Number(port), protocol, ...options });

async function main() {
  const client = connect();
  emit('connect.ping', await client.ping());
  for (const step of [handshake, strings, collections, expiry, pipelines, transactions, optimistic, scripts, scan,
    publishSubscribe, blockingPop, streams, databases, binary, large, errors, manyTasks, lock, close]) {
    await step(client);
  }
  emit('connect.quit', await client.quit());
  finish(`ioredis ${version}`);
}

async function handshake(client) {
  const named = connect({ connectionName: 'orders' });
  emit('handshake.name', await named.client('GETNAME'));
  emit('handshake.role', (await named.role())[0]);
  const info = await named.info('replication');
  emit('handshake.info', info.split('\r\n').filter((line) => line.startsWith('role:')));
  emit('handshake.version', (await client.info('server')).split('\r\n').filter((line) => line.startsWith('redis_version')));
  await named.quit();
}

async function strings(client) {
  emit('strings.set', await client.set('s:a', 'one'));
  await settle('strings.get', () => client.get('s:a'), 'one');
  emit('strings.set_nx', await client.set('s:a', 'two', 'NX'));
  emit('strings.set_get', await client.set('s:a', 'three', 'GET'));
  emit('strings.append', await client.append('s:a', '!'));
  await settle('strings.strlen', () => client.strlen('s:a'), 6);
  emit('strings.mset', await client.mset({ 's:b': 'B', 's:c': '', 's:e': 'été' }));
  await settle('strings.mget', () => client.mget('s:a', 's:b', 's:c', 's:none', 's:e'), ['three!', 'B', '', null, 'été']);
  emit('strings.del', await client.del('s:a', 's:b', 's:c'));
  await settle('strings.exists', () => client.exists('s:a', 's:b'), 0);
  emit('counters.incr', await Promise.all(range(5).map(() => client.incr('c:n'))));
  emit('counters.incrbyfloat', await client.incrbyfloat('c:f', 10.5));
  await settle('counters.get', () => client.get('c:n'), '5');
}

async function collections(client) {
  emit('hashes.hset', await client.hset('h:u', { name: 'Ada', age: 36, empty: '' }));
  await settle('hashes.hgetall', () => client.hgetall('h:u'), { name: 'Ada', age: '36', empty: '' });
  emit('hashes.hincrby', await client.hincrby('h:u', 'age', 1));
  await settle('hashes.hmget', () => client.hmget('h:u', 'age', 'nope'), ['37', null]);
  emit('lists.rpush', await client.rpush('l:q', 'a', 'b', 'c'));
  await settle('lists.lrange', () => client.lrange('l:q', 0, -1), ['a', 'b', 'c']);
  emit('lists.lpop', await client.lpop('l:q'));
  await settle('lists.llen', () => client.llen('l:q'), 2);
  emit('sets.sadd', await client.sadd('t:x', 'a', 'b', 'c'));
  await settle('sets.smembers', async () => (await client.smembers('t:x')).sort(), ['a', 'b', 'c']);
  await settle('sets.smismember', () => client.smismember('t:x', 'a', 'q'), [1, 0]);
  emit('zsets.zadd', await client.zadd('z:b', 1.5, 'ann', 2, 'bob', 3, 'cid'));
  emit('zsets.zincrby', await client.zincrby('z:b', 10, 'ann'));
  await settle('zsets.zrange', () => client.zrange('z:b', 0, -1, 'WITHSCORES'), ['bob', '2', 'cid', '3', 'ann', '11.5']);
  await settle('zsets.zscore', () => client.zscore('z:b', 'ann'), '11.5');
  emit('zsets.zpopmin', await client.zpopmin('z:b'));
}

async function expiry(client) {
  await client.set('e:a', 'x', 'EX', 100);
  await settle('expiry.ttl', async () => { const left = await client.ttl('e:a'); return left > 0 && left <= 100; }, true);
  emit('expiry.persist', await client.persist('e:a'));
  await settle('expiry.ttl_none', () => client.ttl('e:a'), -1);
  await client.set('e:b', 'x', 'PX', 30);
  // The expiry travels as a point in time: once it has passed, every replica says nil, however late it is.
  await pause(60);
  emit('expiry.gone', await client.get('e:b'));
}

// ioredis gives a pipeline's results as [error, value] pairs.
const pairs = (results) => results.map(([error, value]) => error || value);

async function pipelines(client) {
  emit('pipelines.mixed', pairs(await client.pipeline().set('p:a', 1).incr('p:a').get('p:a').hset('p:h', 'f', 'v')
    .hgetall('p:h').lpush('p:a', 'wrong').get('p:a').exec()));
  const pipeline = client.pipeline();
  for (const i of range(5000)) pipeline.set(`p:k${i}`, `value-${i}`);
  emit('pipelines.large_set', digest(pairs(await pipeline.exec())));
  const readAll = async () => {
    const reads = client.pipeline();
    for (const i of range(5000)) reads.get(`p:k${i}`);
    return digest(pairs(await reads.exec()));
  };
  await settle('pipelines.large_get', readAll, digest(range(5000).map((i) => `value-${i}`)));
  const automatic = connect({ enableAutoPipelining: true });
  emit('pipelines.automatic', await Promise.all(range(100).map((i) => automatic.incrby(`p:auto${i % 10}`, i))));
  await automatic.quit();
}

async function transactions(client) {
  emit('transactions.exec', pairs(await client.multi().set('m:a', 5).incr('m:a').get('m:a').zadd('m:z', 1, 'x')
    .zrange('m:z', 0, -1, 'WITHSCORES').exec()));
  emit('transactions.error_inside', pairs(await client.multi().set('m:s', 'text').lpush('m:s', 'x').set('m:t', 'after').exec()));
  await settle('transactions.after_error', () => client.get('m:t'), 'after');
  emit('transactions.aborted', await outcome(client.multi().set('m:u', 'never').call('NOSUCH').exec()));
  await settle('transactions.not_run', () => client.get('m:u'), null);
  await client.multi({ pipeline: false });
  emit('transactions.queued', await client.set('m:v', 'queued'));
  emit('transactions.discard', await client.discard());
  await settle('transactions.discarded', () => client.get('m:v'), null);
}

// Four connections add to one number by WATCH, GET, MULTI, SET, EXEC: no update may get lost.
async function optimistic(client) {
  await client.set('w:sum', 0);
  const add = async () => {
    const own = connect();
    for (let done = 0; done < 25;) {
      await own.watch('w:sum');
      const value = Number(await own.get('w:sum'));
      if (await own.multi().set('w:sum', value + 1).exec()) done += 1;
    }
    await own.quit();
    return 25;
  };
  emit('optimistic.updates', await Promise.all(range(4).map(add)));
  await settle('optimistic.sum', () => client.get('w:sum'), '100');
}

async function scripts(client) {
  await client.script('FLUSH'); // so that EVALSHA meets NOSCRIPT and the library has to send the body
  client.defineCommand('take', {
    numberOfKeys: 2,
    lua: `local have = tonumber(redis.call('GET', KEYS[1]) or '0')
      if have < tonumber(ARGV[1]) then return redis.error_reply('ERR only ' .. have .. ' left') end
      redis.call('DECRBY', KEYS[1], ARGV[1]) redis.call('INCRBY', KEYS[2], ARGV[1])
      return {have - ARGV[1], redis.call('GET', KEYS[2])}`,
  });
  await client.set('lua:a', 10);
  emit('scripts.first', await client.take('lua:a', 'lua:b', 3));
  emit('scripts.cached', await client.take('lua:a', 'lua:b', 4));
  const error = await outcome(client.take('lua:a', 'lua:b', 99));
  emit('scripts.error', error.message.split(' script:')[0]);
  emit('scripts.pipeline', pairs(await client.pipeline().take('lua:a', 'lua:b', 1).get('lua:a').exec()));
  await settle('scripts.balance', () => client.mget('lua:a', 'lua:b'), ['2', '8']);
}

async function scan(client) {
  const keys = range(1000).map((i) => `scan:${i}`);
  await client.mset(...keys.flatMap((key) => [key, 'x']));
  const iterate = async () => {
    const found = new Set();
    for await (const batch of client.scanStream({ match: 'scan:*', count: 50 })) batch.forEach((key) => found.add(key));
    return digest([...found].sort());
  };
  await settle('scan.match', iterate, digest([...keys].sort()));
  await client.sadd('scan-set', ...keys);
  const members = async () => {
    const found = new Set();
    for await (const batch of client.sscanStream('scan-set', { count: 50 })) batch.forEach((key) => found.add(key));
    return digest([...found].sort());
  };
  await settle('scan.sscan', members, digest([...keys].sort()));
}

async function publishSubscribe(client) {
  const subscriber = connect();
  const received = [];
  subscriber.on('message', (channel, message) => received.push([channel, message]));
  subscriber.on('pmessage', (pattern, channel, message) => received.push([pattern, channel, message]));
  emit('pubsub.subscribed', await subscriber.subscribe('news', 'sport'));
  emit('pubsub.psubscribed', await subscriber.psubscribe('we*'));
  const receivers = await Promise.all(range(20).map((i) => client.publish('news', `item ${i}`)));
  emit('pubsub.receivers', receivers.concat(await client.publish('weather', 'rain')));
  await until(() => received.length >= 21);
  emit('pubsub.messages', received);
  emit('pubsub.unsubscribed', await subscriber.unsubscribe('news'));
  emit('pubsub.nobody', await client.publish('news', 'lost'));
  emit('pubsub.quit', await subscriber.quit());
}

const blocked = async (client) => !/blocked_clients:0\r/.test(await client.info('clients'));

async function blockingPop(client) {
  const waiter = connect();
  const popped = waiter.blpop('block:a', 'block:b', 10);
  await until(() => blocked(client));
  emit('blocking.push', await client.rpush('block:b', 'job'));
  emit('blocking.popped', await popped);
  emit('blocking.timeout', await waiter.blpop('block:a', 0.05));
  await waiter.quit();
}

async function streams(client) {
  emit('streams.xadd', await Promise.all(range(5).map((i) => client.xadd('x:s', `${i + 1}-0`, 'n', i))));
  emit('streams.group', await client.xgroup('CREATE', 'x:s', 'workers', '0'));
  emit('streams.read', await client.xreadgroup('GROUP', 'workers', 'w1', 'COUNT', 3, 'STREAMS', 'x:s', '>'));
  emit('streams.ack', await client.xack('x:s', 'workers', '1-0', '2-0'));
  await settle('streams.xlen', () => client.xlen('x:s'), 5);
  await settle('streams.xrange', () => client.xrange('x:s', '5-0', '+'), [['5-0', ['n', '4']]]);
  emit('streams.group_exists', await outcome(client.xgroup('CREATE', 'x:s', 'workers', '0')));
}

async function databases(client) {
  const second = connect({ db: 1 });
  await second.set('db:k', 'in one');
  await client.set('db:k', 'in zero');
  await settle('databases.one', () => second.get('db:k'), 'in one');
  await settle('databases.zero', () => client.get('db:k'), 'in zero');
  emit('databases.select', await second.select(0));
  await settle('databases.selected', () => second.get('db:k'), 'in zero');
  emit('databases.back', await second.select(1));
  await settle('databases.again', () => second.get('db:k'), 'in one');
  emit('databases.flush', await second.flushdb());
  await settle('databases.one_empty', () => second.get('db:k'), null);
  await settle('databases.zero_kept', () => client.get('db:k'), 'in zero');
  await second.quit();
}

async function binary(client) {
  const key = Buffer.from('bin:\r\n\x00\xff', 'latin1');
  await client.set(key, everyByte);
  await settle('binary.get', () => client.getBuffer(key), everyByte);
  await client.hset('bin:h', 'f', everyByte);
  await settle('binary.hget', () => client.hgetBuffer('bin:h', 'f'), everyByte);
}

async function large(client) {
  await client.set('big', mebibyte);
  await settle('large.get', async () => digest([await client.getBuffer('big')]), digest([mebibyte]));
  emit('large.del', await client.del('big'));
}

async function errors(client) {
  await client.set('err:s', 'text');
  emit('errors.wrong_type_write', await outcome(client.lpush('err:s', 'x')));
  const wrongType = 'WRONGTYPE Operation against a key holding the wrong kind of value';
  await settle('errors.wrong_type_read', async () => (await outcome(client.hgetall('err:s'))).message || 'no error', wrongType);
  emit('errors.not_integer', await outcome(client.incr('err:s')));
  emit('errors.unknown', await outcome(client.call('NOSUCH', 'a', 'b\r\nc')));
  emit('errors.arity', await outcome(client.call('GET')));
  emit('errors.syntax', await outcome(client.call('SET', 'a', 'b', 'MAYBE')));
  emit('errors.then_ping', await client.ping());
}

// Twenty tasks interleave on one connection; ioredis sends without waiting for replies.
async function manyTasks(client) {
  const work = async (number) => {
    for (const i of range(20)) {
      await client.incr('pool:n');
      await client.hset(`pool:${number}`, `f${i}`, i);
    }
    return number;
  };
  emit('tasks.done', await Promise.all(range(20).map(work)));
  await settle('tasks.sum', () => client.get('pool:n'), '400');
  await settle('tasks.fields', () => Promise.all(range(20).map((n) => client.hlen(`pool:${n}`))), range(20).map(() => 20));
}

async function lock(client) {
  const release = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end";
  let holders = 0;
  let most = 0;
  const guarded = async (token) => {
    await until(() => client.set('lock:a', token, 'PX', 30000, 'NX'));
    holders += 1;
    most = Math.max(most, holders);
    await client.incr('lock:n');
    holders -= 1;
    return client.eval(release, 1, 'lock:a', token);
  };
  emit('lock.released', await Promise.all(range(12).map((i) => guarded(`token ${i}`))));
  emit('lock.most_holders', most);
  await settle('lock.count', () => client.get('lock:n'), '12');
}

async function close(client) {
  const short = connect();
  await short.set('close:a', 1);
  short.disconnect();
  await settle('close.other_client', () => client.get('close:a'), '1');
  const again = connect({ lazyConnect: true });
  await again.connect();
  emit('close.again', await again.ping('again'));
  again.disconnect();
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
