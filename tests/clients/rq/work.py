"""The jobs of app.py, as a worker imports them."""

tries = {}


def add(left, right):
    """The smallest job there is."""
    return left + right


def divide(left, right):
    """May fail for good."""
    return left / right


def report():
    """Runs after another job and reads that job's result."""
    from rq import get_current_job

    job = get_current_job()
    return f"it was {job.dependency.return_value()}"
