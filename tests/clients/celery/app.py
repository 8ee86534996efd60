"""An application on Celery, with Redis as broker and result backend and a worker process of its own.

Usage: app.py HOST:PORT 2 (the protocol is Celery's choice). Knows nothing of an ambassador. Prints a transcript.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

os.environ["ORDERS_REDIS"] = sys.argv[1]

import celery  # noqa: E402
import redis  # noqa: E402
from tasks import add, app, divide, flaky, total  # noqa: E402
from transcript import emit, finish, settle  # noqa: E402

SECONDS = 30
HERE = pathlib.Path(__file__).resolve().parent


def main():
    """Starts the worker, gives it work, ends it."""
    with tempfile.TemporaryFile("w+") as log:
        command = [sys.executable, "-m", "celery", "--app", "tasks", "worker", "--concurrency", "2", "--hostname",
                   "worker@orders", "--loglevel", "warning"]
        worker = subprocess.Popen(command, cwd=HERE, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            ready(worker)
            for step in (results, retries, compositions, many, inspection):
                step()
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read()[-1500:])
            raise
        finally:
            worker.terminate()
            status = worker.wait(SECONDS)
    emit("worker.status", status)


def ready(worker):
    """Until the worker answers a broadcast (publish and subscribe, and a reply queue)."""
    deadline = time.monotonic() + SECONDS
    replies = []
    while not replies and worker.poll() is None and time.monotonic() < deadline:
        replies = app.control.ping(timeout=0.3)
    emit("worker.ping", replies)


def results():
    result = add.delay(2, 3)
    emit("results.get", result.get(timeout=SECONDS))
    again = celery.result.AsyncResult(result.id, app=app)
    settle("results.state", lambda: again.state, "SUCCESS")
    settle("results.again", lambda: again.result, 5)
    failed = divide.delay(1, 0)
    emit("results.failure", repr(failed.get(timeout=SECONDS, propagate=False)))
    emit("results.failure_state", failed.state)
    later = add.apply_async((20, 22), countdown=0.2)
    emit("results.countdown", later.get(timeout=SECONDS))
    result.forget()
    settle("results.forgotten", lambda: celery.result.AsyncResult(result.id, app=app).state, "PENDING")


def retries():
    emit("retries.worked", flaky.delay(2).get(timeout=SECONDS))
    emit("retries.gave_up", repr(flaky.delay(9).get(timeout=SECONDS, propagate=False)))


def compositions():
    emit("compositions.chain", celery.chain(add.s(1, 2), add.s(10), add.s(100)).delay().get(timeout=SECONDS))
    emit("compositions.group", celery.group(add.s(i, i) for i in range(8)).delay().get(timeout=SECONDS))
    emit("compositions.chord", celery.chord((add.s(i, 1) for i in range(8)), total.s()).delay().get(timeout=SECONDS))
    nested = celery.chain(celery.group(add.s(i, i) for i in range(4)), total.s(), add.s(1000))
    emit("compositions.nested", nested.delay().get(timeout=SECONDS))


def many():
    """Results are polled for while others are being written."""
    pending = [add.delay(i, 1) for i in range(40)]
    emit("many.results", [result.get(timeout=SECONDS) for result in pending])


def inspection():
    inspect = app.control.inspect(timeout=2, destination=["worker@orders"])
    emit("inspection.active", inspect.active())
    emit("inspection.registered", {name: [task for task in tasks if task.startswith("tasks.")]
                                   for name, tasks in (inspect.registered() or {}).items()})
    with app.connection_for_write() as connection:
        settle("inspection.queue", lambda: connection.default_channel.client.llen("celery"), 0)


main()
finish(f"celery {celery.__version__} on redis-py {redis.__version__}")
