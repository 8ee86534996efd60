// Two Socket.IO servers that know of each other only by Redis: what one emits, clients of the other receive.
//
// Usage: app.cjs HOST:PORT PROTOCOL. Knows nothing of an ambassador. Prints a transcript (see ../node/transcript.cjs).
'use strict';
const { createServer } = require('node:http');
const { createAdapter } = require('@socket.io/redis-adapter');
const { version } = require('@socket.io/redis-adapter/package.json');
const { createClient } = require('redis');
const { Server } = require('socket.io');
const { io } = require('socket.io-client');
const { emit, finish, outcome, range, until } = require('../node/transcript.cjs');

const [host, port] = process.argv[2].split(':');
const RESP = Number(process.argv[3]);

// One server on a free port of its own, with the two Redis connections that the adapter asks for.
async function serve() {
  const publisher = createClient({ socket: { host, port: Number(port) }, RESP });
  const subscriber = publisher.duplicate();
  for (const client of [publisher, subscriber]) client.on('error', (error) => process.stderr.write(`${error}\n`));
  await Promise.all([publisher.connect(), subscriber.connect()]);
  const http = createServer();
  const server = new Server(http, { adapter: createAdapter(publisher, subscriber) });
  server.on('connection', (socket) => {
    socket.on('join', (room, done) => { socket.join(room); done(); });
  });
  await new Promise((resolve) => { http.listen(0, '127.0.0.1', resolve); });
  return { http, server, publisher, subscriber };
}

async function browser(side, name) {
  const socket = io(`http://127.0.0.1:${side.http.address().port}`, { transports: ['websocket'], auth: { name } });
  const received = [];
  socket.onAny((event, ...values) => {
    const acknowledge = typeof values.at(-1) === 'function' ? values.pop() : () => {};
    received.push([event, ...values]);
    acknowledge(name);
  });
  await new Promise((resolve, reject) => { socket.on('connect', resolve); socket.on('connect_error', reject); });
  return { socket, received };
}

async function main() {
  const [left, right] = await Promise.all([serve(), serve()]);
  // The adapters subscribe in the background; until each knows that there are two, nothing can reach the other.
  await until(async () => (await Promise.all([left, right].map(({ server }) => server.of('/').adapter.serverCount())))
    .every((count) => count === 2));
  emit('servers.count', await Promise.all([left, right].map(({ server }) => server.of('/').adapter.serverCount())));
  const [ada, bob] = await Promise.all([browser(left, 'ada'), browser(right, 'bob')]);
  await broadcasts(left, right, ada, bob);
  await rooms(left, right, ada, bob);
  await requests(left, right, bob);
  for (const { socket } of [ada, bob]) socket.close();
  for (const { server, publisher, subscriber } of [left, right]) {
    await server.close();
    await Promise.all([publisher.close(), subscriber.close()]);
  }
  finish(`socket.io redis-adapter ${version}`);
  // The adapter's timer of the acknowledgement in broadcasts() keeps the process for its 5 seconds.
  process.exit(0);
}

async function broadcasts(left, right, ada, bob) {
  for (const n of range(20)) left.server.emit('news', { n });
  await until(() => bob.received.length >= 20 && ada.received.length >= 20);
  emit('broadcasts.other_server', bob.received.splice(0));
  emit('broadcasts.same_server', ada.received.splice(0).length);
  right.server.emit('bytes', Buffer.from([0, 255, 13, 10]));
  await until(() => ada.received.length >= 1 && bob.received.length >= 1);
  emit('broadcasts.bytes', [ada.received.splice(0), bob.received.splice(0)]);
  emit('broadcasts.acknowledged', (await left.server.timeout(5000).emitWithAck('asked', 1)).sort());
  ada.received.length = 0;
  bob.received.length = 0;
}

async function rooms(left, right, ada, bob) {
  await bob.socket.emitWithAck('join', 'vip');
  left.server.to('vip').emit('only', 'vip');
  left.server.except('vip').emit('only', 'others');
  await until(() => ada.received.length >= 1 && bob.received.length >= 1);
  emit('rooms.received', { ada: ada.received.splice(0), bob: bob.received.splice(0) });
  // By a request to all servers, which each answer on a channel.
  emit('rooms.sockets', (await left.server.in('vip').fetchSockets()).map(({ handshake }) => handshake.auth.name));
  emit('rooms.all_sockets', (await right.server.fetchSockets()).map(({ handshake }) => handshake.auth.name).sort());
  await joined(left, right, ada);
  left.server.in('vip').emit('only', 'both');
  await until(() => ada.received.length >= 1 && bob.received.length >= 1);
  emit('rooms.joined', { ada: ada.received.splice(0), bob: bob.received.splice(0) });
}

// The right server puts a client of the left one into a room.
async function joined(left, right, ada) {
  right.server.in(ada.socket.id).socketsJoin('vip');
  await until(async () => (await right.server.in('vip').fetchSockets()).length === 2);
  emit('rooms.joined_from_afar', (await left.server.in('vip').fetchSockets()).map(({ handshake }) => handshake.auth.name).sort());
}

async function requests(left, right, bob) {
  right.server.on('sum', (a, b, done) => done(a + b));
  left.server.on('sum', (a, b, done) => done(-1));
  emit('requests.server_side', await outcome(left.server.serverSideEmitWithAck('sum', 20, 22)));
  const gone = new Promise((resolve) => { bob.socket.on('disconnect', resolve); });
  left.server.in(bob.socket.id).disconnectSockets(true);
  emit('requests.disconnected', await gone);
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
