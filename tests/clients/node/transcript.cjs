// What an application prints: one JSON line per step on stdout, in an order and with values that do not
// depend on the run. What may differ from run to run goes to stderr as one JSON line at the end.
'use strict';
const { createHash } = require('node:crypto');

// How long a read may stay behind a write of the same application before it gives up and prints what it has.
const SETTLE_MILLISECONDS = 5000;
const settled = { reads: 0, repeats: 0, gave_up: [] };

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// The value in JSON's types: bytes that are not text as hex, object keys in order.
function plain(value) {
  if (Buffer.isBuffer(value)) {
    const text = value.toString('latin1');
    return /^[\x20-\x7e]*$/.test(text) ? text : `hex:${value.toString('hex')}`;
  }
  if (value instanceof Error) return `${value.name}: ${value.message}`;
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Set) return [...value].map(plain).sort();
  if (value instanceof Map) return plain(Object.fromEntries(value));
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.keys(value).sort().map((key) => [key, plain(value[key])]));
  }
  return value === undefined ? null : value;
}

function emit(step, value) {
  process.stdout.write(`${JSON.stringify({ step, value: plain(value) })}\n`);
}

// What a promise gives, or the error it fails with as a value to print.
async function outcome(promise) {
  try {
    return await promise;
  } catch (error) {
    return error;
  }
}

// Read until the value is the expected one, then print the value that was read last.
//
// This is an honest weakness of what is tested, not of the test: a replica is behind its master, so a read of a key
// that this application has just written may show the state before. An application on one plain Redis needs no such
// loop. It does not hide wrong values: it prints what the server said last, and if the expected value never
// comes the transcript differs. Against a plain Redis the harness demands zero repeats.
async function settle(step, read, expected) {
  const want = JSON.stringify(plain(expected));
  const deadline = Date.now() + SETTLE_MILLISECONDS;
  settled.reads += 1;
  for (;;) {
    const value = await outcome(read());
    const right = JSON.stringify(plain(value)) === want;
    if (right || Date.now() >= deadline) {
      if (!right) settled.gave_up.push(step);
      emit(step, value);
      return value;
    }
    settled.repeats += 1;
    await pause(2);
  }
}

// Repeats until the condition holds, five seconds at most.
async function until(condition) {
  const deadline = Date.now() + SETTLE_MILLISECONDS;
  while (!(await condition()) && Date.now() < deadline) await pause(5);
}

// A short name of many values, each with its length in front so that no two lists have the same bytes.
function digest(values) {
  const hash = createHash('sha256');
  for (const value of values) {
    const data = Buffer.isBuffer(value) ? value : Buffer.from(String(value));
    hash.update(`${data.length}:`).update(data);
  }
  return hash.digest('hex').slice(0, 16);
}

function finish(library) {
  process.stderr.write(`${JSON.stringify({ library, settle: settled })}\n`);
}

const range = (length) => Array.from({ length }, (_, i) => i);

// Every byte there is, and what looks like a protocol.
const everyByte = Buffer.concat([Buffer.from(range(256)), Buffer.from('\r\n$5\r\nhello\r\n*1\r\n+OK\r\n-ERR x\r\n')]);
const mebibyte = Buffer.from(range(1 << 20).map((i) => (i * 7 + Math.floor(i / 251)) % 256));

module.exports = { digest, emit, everyByte, finish, mebibyte, outcome, pause, range, settle, until };
