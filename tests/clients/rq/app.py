"""An application on RQ: jobs put into queues, workers in burst mode, results, retries, dependencies, a schedule.

Usage: app.py HOST:PORT PROTOCOL. Knows nothing of an ambassador. Prints a transcript.
"""

import logging
import pathlib
import subprocess
import sys
import time
from datetime import timedelta

import redis
import rq
from rq.registry import FailedJobRegistry, FinishedJobRegistry, ScheduledJobRegistry

import work
from transcript import emit, finish, settle

HOST, _, PORT = sys.argv[1].rpartition(":")
WAIT_SECONDS = 10
CLIENT = redis.Redis(host=HOST, port=int(PORT), protocol=int(sys.argv[2]))


def main():
    """Every step, one after the other."""
    logging.getLogger("rq").setLevel(logging.CRITICAL)
    for step in (one, many, failing, dependent, scheduled, names):
        step()
    CLIENT.close()


def burst(*queues):
    """A worker that ends when the queues are empty, in this process."""
    return rq.SimpleWorker(list(queues), connection=CLIENT).work(burst=True, logging_level="CRITICAL")


def state(job):
    """A job's status and result as another process would see them."""
    seen = rq.job.Job.fetch(job.id, connection=CLIENT)
    return [seen.get_status().value, seen.return_value()]


def one():
    queue = rq.Queue("one", connection=CLIENT)
    job = queue.enqueue(work.add, 2, 3, job_id="one")
    settle("one.waiting", lambda: [len(queue), queue.job_ids], [1, ["one"]])
    emit("one.worked", burst(queue))
    settle("one.done", lambda: state(job), ["finished", 5])
    settle("one.queue", lambda: len(queue), 0)


def many():
    """A worker process waits while the jobs are put in: it takes each, and reads what it is, within a millisecond."""
    queue = rq.Queue("many", connection=CLIENT)
    command = [sys.executable, "-m", "rq.cli", "worker", "many", "--quiet", "--worker-class", "rq.SimpleWorker", "--url",
               f"redis://{sys.argv[1]}/0?protocol={sys.argv[2]}"]
    worker = subprocess.Popen(command, cwd=pathlib.Path(__file__).parent, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        wait(lambda: worker.poll() is not None or rq.Worker.count(connection=CLIENT) == 1)
        jobs = [queue.enqueue(work.add, number, 1, job_id=f"many-{number}") for number in range(25)]
        wait(lambda: all(job.is_finished for job in jobs))
    finally:
        worker.terminate()
        emit("many.status", worker.wait(WAIT_SECONDS))
    settle("many.done", lambda: [state(job) for job in jobs], [["finished", number + 1] for number in range(25)])
    settle("many.registry", lambda: len(FinishedJobRegistry(queue=queue)), 25)


def wait(done):
    """Until done() is true or the time is over; what comes next says which."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not done() and time.monotonic() < deadline:
        time.sleep(0.01)


def failing():
    queue = rq.Queue("failing", connection=CLIENT)
    job = queue.enqueue(work.divide, 1, 0, retry=rq.Retry(max=2), job_id="failing")
    emit("failing.worked", burst(queue))
    settle("failing.status", lambda: rq.job.Job.fetch("failing", connection=CLIENT).get_status().value, "failed")
    settle("failing.registry", lambda: FailedJobRegistry(queue=queue).get_job_ids(), ["failing"])
    settle("failing.why", lambda: job.latest_result().exc_string.splitlines()[-1], "ZeroDivisionError: division by zero")


def dependent():
    queue = rq.Queue("dependent", connection=CLIENT)
    first = queue.enqueue(work.add, 20, 22, job_id="first")
    second = queue.enqueue(work.report, depends_on=first, job_id="second")
    settle("dependent.deferred", lambda: second.get_status(refresh=True).value, "deferred")
    emit("dependent.worked", burst(queue))
    settle("dependent.done", lambda: [state(first), state(second)], [["finished", 42], ["finished", "it was 42"]])


def scheduled():
    queue = rq.Queue("scheduled", connection=CLIENT)
    queue.enqueue_in(timedelta(hours=1), work.add, 1, 1, job_id="later")
    settle("scheduled.registry", lambda: ScheduledJobRegistry(queue=queue).get_job_ids(), ["later"])
    rq.job.Job.fetch("later", connection=CLIENT).delete()
    settle("scheduled.gone", lambda: ScheduledJobRegistry(queue=queue).get_job_ids(), [])


def names():
    settle("names.queues", lambda: sorted(queue.name for queue in rq.Queue.all(connection=CLIENT)),
           ["dependent", "failing", "many", "one", "scheduled"])
    settle("names.workers", lambda: rq.Worker.count(connection=CLIENT), 0)


main()
finish(f"rq {rq.VERSION} on redis-py {redis.__version__}")
