"""The tasks of app.py, as a worker process and the application both import them."""

import os

import celery

ADDRESS = os.environ["ORDERS_REDIS"]
app = celery.Celery("orders", broker=f"redis://{ADDRESS}/0", backend=f"redis://{ADDRESS}/1")
app.conf.update(broker_connection_retry_on_startup=True, worker_prefetch_multiplier=1, task_acks_late=True)


@app.task
def add(left, right):
    """The smallest task there is."""
    return left + right


@app.task
def total(numbers):
    """The body of a chord."""
    return sum(numbers)


@app.task(bind=True, max_retries=3)
def flaky(self, failures):
    """Fails so many times, then says at which try it worked."""
    if self.request.retries < failures:
        raise self.retry(countdown=0.05, exc=ConnectionError("not yet"))
    return f"worked at try {self.request.retries + 1}"


@app.task
def divide(left, right):
    """May fail for good."""
    return left / right
