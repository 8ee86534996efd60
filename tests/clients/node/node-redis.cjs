// An application on node-redis: typed replies, a client pool, scripts by definition, isolated connections.
//
// Usage: node-redis.cjs HOST:PORT PROTOCOL. Knows nothing of an ambassador. Prints a transcript (see transcript.cjs).
'use strict';
const { createClient, createClientPool, defineScript, RESP_TYPES, WatchError } = require('redis');
const { version } = require('redis/package.json');
const { digest, emit, everyByte, finish, mebibyte, outcome, pause, range, settle, until } = require('./transcript.cjs');

const [host, port] = process.argv[2].split(':');
const RESP = Number(process.argv[3]);
const take = defineScript({
  NUMBER_OF_KEYS: 2,
  SCRIPT: `local have = tonumber(redis.call('GET', KEYS[1]) or '0')
    if have < tonumber(ARGV[1]) then return redis.error_reply('ERR only ' .. have .. ' left') end
    redis.call('DECRBY', KEYS[1], ARGV[1]) redis.call('INCRBY', KEYS[2], ARGV[1])
    return {have - ARGV[1], redis.call('GET', KEYS[2])}`,
  parseCommand(parser, from, to, amount) {
    parser.pushKeys([from, to]);
    parser.push(String(amount));
  },
  transformReply: undefined,
});
const settings = (options = {}) => ({ socket: { host, port: Number(port) }, RESP, scripts: { take }, ...options });
const connect = async (options) => {
  const client = createClient(settings(options));
  client.on('error', (error) => process.stderr.write(`${error}\n`));
  return client.connect();
};

async function main() {
  const client = await connect();
  emit('connect.ping', await client.ping());
  for (const step of [handshake, strings, collections, expiry, pipelines, transactions, optimistic, scripts, scan,
    publishSubscribe, blockingPop, streams, databases, binary, large, errors, manyTasks, lock, close]) {
    await step(client);
  }
  await client.close();
  emit('connect.open', client.isOpen);
  finish(`node-redis ${version}`);
}

async function handshake(client) {
  const named = await connect({ name: 'orders' });
  emit('handshake.name', await named.clientGetName());
  emit('handshake.role', (await named.role()).role);
  emit('handshake.version', (await client.info('server')).split('\r\n').filter((line) => line.startsWith('redis_version')));
  emit('handshake.echo', await named.echo('hello'));
  await named.close();
}

async function strings(client) {
  emit('strings.set', await client.set('s:a', 'one'));
  await settle('strings.get', () => client.get('s:a'), 'one');
  emit('strings.set_nx', await client.set('s:a', 'two', { condition: 'NX' }));
  emit('strings.set_get', await client.set('s:a', 'three', { GET: true }));
  emit('strings.append', await client.append('s:a', '!'));
  await settle('strings.strlen', () => client.strLen('s:a'), 6);
  emit('strings.mset', await client.mSet({ 's:b': 'B', 's:c': '', 's:e': 'été' }));
  await settle('strings.mget', () => client.mGet(['s:a', 's:b', 's:c', 's:none', 's:e']), ['three!', 'B', '', null, 'été']);
  emit('strings.del', await client.del(['s:a', 's:b', 's:c']));
  await settle('strings.exists', () => client.exists(['s:a', 's:b']), 0);
  emit('counters.incr', await Promise.all(range(5).map(() => client.incr('c:n'))));
  emit('counters.incrbyfloat', await client.incrByFloat('c:f', 10.5));
  await settle('counters.get', () => client.get('c:n'), '5');
}

async function collections(client) {
  emit('hashes.hset', await client.hSet('h:u', { name: 'Ada', age: 36, empty: '' }));
  await settle('hashes.hgetall', () => client.hGetAll('h:u'), { name: 'Ada', age: '36', empty: '' });
  emit('hashes.hincrby', await client.hIncrBy('h:u', 'age', 1));
  await settle('hashes.hmget', () => client.hmGet('h:u', ['age', 'nope']), ['37', null]);
  emit('lists.rpush', await client.rPush('l:q', ['a', 'b', 'c']));
  await settle('lists.lrange', () => client.lRange('l:q', 0, -1), ['a', 'b', 'c']);
  emit('lists.lpop', await client.lPop('l:q'));
  await settle('lists.llen', () => client.lLen('l:q'), 2);
  emit('sets.sadd', await client.sAdd('t:x', ['a', 'b', 'c']));
  await settle('sets.smembers', async () => (await client.sMembers('t:x')).sort(), ['a', 'b', 'c']);
  await settle('sets.smismember', () => client.smIsMember('t:x', ['a', 'q']), [1, 0]);
  emit('zsets.zadd', await client.zAdd('z:b', [{ score: 1.5, value: 'ann' }, { score: 2, value: 'bob' }]));
  emit('zsets.zincrby', await client.zIncrBy('z:b', 10, 'ann'));
  await settle('zsets.zrange', () => client.zRangeWithScores('z:b', 0, -1), [{ value: 'bob', score: 2 }, { value: 'ann', score: 11.5 }]);
  await settle('zsets.zscore', () => client.zScore('z:b', 'ann'), 11.5);
  emit('zsets.zpopmin', await client.zPopMin('z:b'));
}

async function expiry(client) {
  await client.set('e:a', 'x', { expiration: { type: 'EX', value: 100 } });
  await settle('expiry.ttl', async () => { const left = await client.ttl('e:a'); return left > 0 && left <= 100; }, true);
  emit('expiry.persist', await client.persist('e:a'));
  await settle('expiry.ttl_none', () => client.ttl('e:a'), -1);
  await client.set('e:b', 'x', { expiration: { type: 'PX', value: 30 } });
  // The expiry travels as a point in time: once it has passed, every replica says nil, however late it is.
  await pause(60);
  emit('expiry.gone', await client.get('e:b'));
}

async function pipelines(client) {
  emit('pipelines.mixed', await Promise.all([client.set('p:a', 1), client.incr('p:a'), client.get('p:a'),
    client.hSet('p:h', 'f', 'v'), client.hGetAll('p:h'), outcome(client.lPush('p:a', 'wrong')), client.get('p:a')]));
  const pipeline = client.multi();
  for (const i of range(5000)) pipeline.set(`p:k${i}`, `value-${i}`);
  emit('pipelines.large_set', digest(await pipeline.execAsPipeline()));
  // One turn of the event loop: node-redis writes all of them before it reads a reply.
  const readAll = async () => digest(await Promise.all(range(5000).map((i) => client.get(`p:k${i}`))));
  await settle('pipelines.large_get', readAll, digest(range(5000).map((i) => `value-${i}`)));
}

async function transactions(client) {
  emit('transactions.exec', await client.multi().set('m:a', 5).incr('m:a').get('m:a').zAdd('m:z', { score: 1, value: 'x' })
    .zRangeWithScores('m:z', 0, -1).exec());
  const inside = await outcome(client.multi().set('m:s', 'text').lPush('m:s', 'x').set('m:t', 'after').exec());
  emit('transactions.error_inside', [inside, inside.replies]);
  await settle('transactions.after_error', () => client.get('m:t'), 'after');
  emit('transactions.aborted', await outcome(client.multi().set('m:u', 'never').addCommand(['NOSUCH']).exec()));
  await settle('transactions.not_run', () => client.get('m:u'), null);
}

// Four connections add to one number by WATCH, GET, MULTI, SET, EXEC: no update may get lost.
async function optimistic(client) {
  await client.set('w:sum', 0);
  const add = async () => {
    const own = await connect();
    for (let done = 0; done < 25;) {
      await own.watch('w:sum');
      const value = Number(await own.get('w:sum'));
      const result = await outcome(own.multi().set('w:sum', value + 1).exec());
      if (!(result instanceof WatchError)) done += 1;
    }
    await own.close();
    return 25;
  };
  emit('optimistic.updates', await Promise.all(range(4).map(add)));
  await settle('optimistic.sum', () => client.get('w:sum'), '100');
}

async function scripts(client) {
  await client.scriptFlush(); // so that EVALSHA meets NOSCRIPT and the library has to send the body
  await client.set('lua:a', 10);
  emit('scripts.first', await client.take('lua:a', 'lua:b', 3));
  emit('scripts.cached', await client.take('lua:a', 'lua:b', 4));
  const error = await outcome(client.take('lua:a', 'lua:b', 99));
  emit('scripts.error', error.message.split(' script:')[0]);
  emit('scripts.multi', await client.multi().take('lua:a', 'lua:b', 1).get('lua:a').exec());
  await settle('scripts.balance', () => client.mGet(['lua:a', 'lua:b']), ['2', '8']);
}

async function scan(client) {
  const keys = range(1000).map((i) => `scan:${i}`);
  await client.mSet(Object.fromEntries(keys.map((key) => [key, 'x'])));
  const iterate = async () => {
    const found = new Set();
    for await (const batch of client.scanIterator({ MATCH: 'scan:*', COUNT: 50 })) batch.forEach((key) => found.add(key));
    return digest([...found].sort());
  };
  await settle('scan.match', iterate, digest([...keys].sort()));
  await client.hSet('scan-hash', Object.fromEntries(keys.map((key) => [key, 'x'])));
  const fields = async () => {
    const found = new Set();
    for await (const batch of client.hScanIterator('scan-hash', { COUNT: 50 })) batch.forEach(({ field }) => found.add(field));
    return digest([...found].sort());
  };
  await settle('scan.hscan', fields, digest([...keys].sort()));
}

async function publishSubscribe(client) {
  const subscriber = await connect();
  const received = [];
  await subscriber.subscribe('news', (message, channel) => received.push([channel, message]));
  await subscriber.pSubscribe('we*', (message, channel) => received.push([channel, message]));
  const receivers = await Promise.all(range(20).map((i) => client.publish('news', `item ${i}`)));
  emit('pubsub.receivers', receivers.concat(await client.publish('weather', 'rain')));
  await until(() => received.length >= 21);
  emit('pubsub.messages', received);
  await subscriber.unsubscribe('news');
  emit('pubsub.nobody', await client.publish('news', 'lost'));
  // Every command may be used while subscribed in RESP3, and node-redis lets it through.
  if (RESP === 3) emit('pubsub.command_while_subscribed', await subscriber.incr('pubsub:n'));
  await subscriber.close();
}

const blocked = async (client) => !/blocked_clients:0\r/.test(await client.info('clients'));

async function blockingPop(client) {
  const waiter = await connect();
  const popped = waiter.blPop(['block:a', 'block:b'], 10);
  await until(() => blocked(client));
  emit('blocking.push', await client.rPush('block:b', 'job'));
  emit('blocking.popped', await popped);
  emit('blocking.timeout', await waiter.blPop('block:a', 0.05));
  await waiter.close();
}

async function streams(client) {
  emit('streams.xadd', await Promise.all(range(5).map((i) => client.xAdd('x:s', `${i + 1}-0`, { n: String(i) }))));
  emit('streams.group', await client.xGroupCreate('x:s', 'workers', '0'));
  emit('streams.read', await client.xReadGroup('workers', 'w1', { key: 'x:s', id: '>' }, { COUNT: 3 }));
  emit('streams.ack', await client.xAck('x:s', 'workers', ['1-0', '2-0']));
  await settle('streams.xlen', () => client.xLen('x:s'), 5);
  emit('streams.group_exists', await outcome(client.xGroupCreate('x:s', 'workers', '0')));
}

async function databases(client) {
  const second = await connect({ database: 1 });
  await second.set('db:k', 'in one');
  await client.set('db:k', 'in zero');
  await settle('databases.one', () => second.get('db:k'), 'in one');
  await settle('databases.zero', () => client.get('db:k'), 'in zero');
  emit('databases.select', await second.select(0));
  await settle('databases.selected', () => second.get('db:k'), 'in zero');
  emit('databases.back', await second.select(1));
  await settle('databases.again', () => second.get('db:k'), 'in one');
  emit('databases.flush', await second.flushDb());
  await settle('databases.one_empty', () => second.get('db:k'), null);
  await settle('databases.zero_kept', () => client.get('db:k'), 'in zero');
  await second.close();
}

async function binary(client) {
  const bytes = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
  const key = Buffer.from('bin:\r\n\x00\xff', 'latin1');
  await client.set(key, everyByte);
  await settle('binary.get', () => bytes.get(key), everyByte);
  await client.hSet('bin:h', 'f', everyByte);
  await settle('binary.hget', () => bytes.hGet('bin:h', 'f'), everyByte);
}

async function large(client) {
  const bytes = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
  await client.set('big', mebibyte);
  await settle('large.get', async () => digest([await bytes.get('big')]), digest([mebibyte]));
  emit('large.del', await client.del('big'));
}

async function errors(client) {
  await client.set('err:s', 'text');
  emit('errors.wrong_type_write', await outcome(client.lPush('err:s', 'x')));
  const wrongType = 'WRONGTYPE Operation against a key holding the wrong kind of value';
  await settle('errors.wrong_type_read', async () => (await outcome(client.hGetAll('err:s'))).message || 'no error', wrongType);
  emit('errors.not_integer', await outcome(client.incr('err:s')));
  emit('errors.unknown', await outcome(client.sendCommand(['NOSUCH', 'a', 'b\r\nc'])));
  emit('errors.arity', await outcome(client.sendCommand(['GET'])));
  emit('errors.syntax', await outcome(client.sendCommand(['SET', 'a', 'b', 'MAYBE'])));
  emit('errors.then_ping', await client.ping());
}

// Twenty tasks over the library's pool of connections.
async function manyTasks(client) {
  const pool = await createClientPool(settings(), { minimum: 1, maximum: 20 }).connect();
  const work = async (number) => {
    for (const i of range(20)) {
      await pool.incr('pool:n');
      await pool.hSet(`pool:${number}`, `f${i}`, i);
    }
    return number;
  };
  emit('tasks.done', await Promise.all(range(20).map(work)));
  await settle('tasks.sum', () => client.get('pool:n'), '400');
  await settle('tasks.fields', () => Promise.all(range(20).map((n) => pool.hLen(`pool:${n}`))), range(20).map(() => 20));
  await pool.close();
}

async function lock(client) {
  const release = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end";
  let holders = 0;
  let most = 0;
  const guarded = async (token) => {
    await until(() => client.set('lock:a', token, { condition: 'NX', expiration: { type: 'PX', value: 30000 } }));
    holders += 1;
    most = Math.max(most, holders);
    await client.incr('lock:n');
    holders -= 1;
    return client.eval(release, { keys: ['lock:a'], arguments: [token] });
  };
  emit('lock.released', await Promise.all(range(12).map((i) => guarded(`token ${i}`))));
  emit('lock.most_holders', most);
  await settle('lock.count', () => client.get('lock:n'), '12');
}

async function close(client) {
  const short = await connect();
  await short.set('close:a', 1);
  short.destroy();
  await settle('close.other_client', () => client.get('close:a'), '1');
  const again = await connect();
  emit('close.again', await again.ping('again'));
  await again.close();
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
