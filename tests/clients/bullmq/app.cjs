// An application on BullMQ: a queue, a worker on it, delayed jobs, priorities, retries, flows, events.
//
// Usage: app.cjs HOST:PORT PROTOCOL. Knows nothing of an ambassador. Prints a transcript (see ../node/transcript.cjs).
'use strict';
const { FlowProducer, Queue, QueueEvents, Worker } = require('bullmq');
const { version } = require('bullmq/package.json');
const { emit, finish, outcome, range, settle, until } = require('../node/transcript.cjs');

const [host, port] = process.argv[2].split(':');
const connection = { host, port: Number(port), protocol: Number(process.argv[3]), maxRetriesPerRequest: null };
const WAIT = 20000;

// What the worker does: the name says what.
async function work(job) {
  if (job.name === 'fail') throw new Error('no way');
  if (job.name === 'flaky' && job.attemptsMade < 2) throw new Error('not yet');
  if (job.name === 'parent') return Object.values(await job.getChildrenValues()).reduce((sum, value) => sum + value, 0);
  if (job.name === 'report') await job.updateProgress(50);
  return job.data.n * 2;
}

async function main() {
  const queue = new Queue('orders', { connection });
  const events = new QueueEvents('orders', { connection });
  // Each job that is waited for listens to the end of its queue.
  queue.setMaxListeners(100);
  events.setMaxListeners(100);
  const heard = { completed: 0, failed: 0, delayed: 0, progress: [] };
  for (const name of ['completed', 'failed', 'delayed']) events.on(name, () => { heard[name] += 1; });
  events.on('progress', ({ data }) => heard.progress.push(data));
  await events.waitUntilReady();
  await waiting(queue);
  const worker = new Worker('orders', work, { connection, concurrency: 4 });
  worker.on('error', (error) => process.stderr.write(`${error}\n`));
  await first(queue, events);
  await delayed(queue, events);
  await failures(queue, events);
  await many(queue, events);
  await flow(queue, events);
  await until(() => heard.completed >= 43 && heard.failed >= 1 && heard.delayed >= 4);
  emit('events.heard', heard);
  await worker.close();
  await ends(queue);
  await events.close();
  await queue.close();
  finish(`bullmq ${version}`);
}

async function waiting(queue) {
  const job = await queue.add('first', { n: 1 }, { jobId: 'first' });
  emit('waiting.id', job.id);
  await queue.addBulk(range(4).map((n) => ({ name: 'bulk', data: { n }, opts: { jobId: `bulk-${n}`, priority: 4 - n } })));
  await settle('waiting.counts', () => queue.getJobCounts('waiting', 'prioritized', 'delayed'), { waiting: 1, prioritized: 4, delayed: 0 });
  await settle('waiting.prioritized', async () => (await queue.getPrioritized()).map(({ id }) => id),
    ['bulk-3', 'bulk-2', 'bulk-1', 'bulk-0']);
}

async function first(queue, events) {
  const ids = ['first', ...range(4).map((n) => `bulk-${n}`)];
  const get = () => Promise.all(ids.map((id) => queue.getJob(id)));
  await settle('first.found', async () => (await get()).map((job) => job?.id), ids);
  const jobs = await get();
  emit('first.results', await Promise.all(jobs.map((job) => job.waitUntilFinished(events, WAIT))));
  emit('first.states', await Promise.all(jobs.map((job) => job.getState())));
  await settle('first.stored', async () => (await queue.getJob('first'))?.returnvalue, 2);
}

async function delayed(queue, events) {
  const job = await queue.add('later', { n: 21 }, { jobId: 'later', delay: 150 });
  emit('delayed.result', await job.waitUntilFinished(events, WAIT));
  const far = await queue.add('far', { n: 1 }, { jobId: 'far', delay: 3600000 });
  emit('delayed.state', await far.getState());
  await settle('delayed.count', () => queue.getDelayedCount(), 1);
  await far.promote();
  emit('delayed.promoted', await far.waitUntilFinished(events, WAIT));
}

async function failures(queue, events) {
  const flaky = await queue.add('flaky', { n: 4 }, { jobId: 'flaky', attempts: 3, backoff: { type: 'fixed', delay: 20 } });
  emit('failures.flaky', await flaky.waitUntilFinished(events, WAIT));
  await settle('failures.attempts', async () => (await queue.getJob('flaky'))?.attemptsMade, 3);
  const fail = await queue.add('fail', {}, { jobId: 'fail' });
  emit('failures.fail', await outcome(fail.waitUntilFinished(events, WAIT)));
  await settle('failures.list', async () => (await queue.getFailed()).map((job) => [job.id, job.failedReason]), [['fail', 'no way']]);
  const report = await queue.add('report', { n: 5 }, { jobId: 'report' });
  emit('failures.report', await report.waitUntilFinished(events, WAIT));
}

// Each job is added, taken, done and reported while others are.
async function many(queue, events) {
  const one = async (n) => (await queue.add('many', { n }, { jobId: `many-${n}` })).waitUntilFinished(events, WAIT);
  emit('many.results', await Promise.all(range(30).map(one)));
}

async function flow(queue, events) {
  const producer = new FlowProducer({ connection });
  const child = (n) => ({ name: 'child', queueName: 'orders', data: { n }, opts: { jobId: `child-${n}` } });
  const { job } = await producer.add({ name: 'parent', queueName: 'orders', opts: { jobId: 'parent' }, children: range(3).map(child) });
  emit('flow.parent', await job.waitUntilFinished(events, WAIT));
  await producer.close();
}

async function ends(queue) {
  await settle('ends.counts', () => queue.getJobCounts('waiting', 'active', 'delayed', 'completed', 'failed'),
    { waiting: 0, active: 0, delayed: 0, completed: 43, failed: 1 });
  emit('ends.cleaned', (await queue.clean(0, 1000, 'completed')).length);
  await queue.obliterate({ force: true });
  await settle('ends.gone', () => queue.getJobCounts('completed', 'failed'), { completed: 0, failed: 0 });
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
