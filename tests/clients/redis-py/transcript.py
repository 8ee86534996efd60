"""What an application prints: one JSON line per step on stdout, in an order and with values that do not depend on the run.

Anything that may differ from run to run (how often a read had to be repeated, library versions) goes to
stderr as one JSON line at the end, where the harness looks at it but does not compare it.
"""

import asyncio
import hashlib
import json
import sys
import time

# How long a read may stay behind a write of the same application before the application gives up and
# prints what it has got. A replica on loopback is behind by milliseconds.
SETTLE_SECONDS = 5.0
settled = {"reads": 0, "repeats": 0, "gave_up": []}


def plain(value):
    """The value in JSON's types; bytes that are not text as hex; sets sorted, for their order is nobody's promise."""
    if isinstance(value, (bytes, bytearray)):
        text = bytes(value).decode("latin-1")
        return text if text.isascii() and text.isprintable() else "hex:" + bytes(value).hex()
    if isinstance(value, dict):
        return {str(plain(key)): plain(item) for key, item in sorted(value.items(), key=lambda pair: str(pair[0]))}
    if isinstance(value, (set, frozenset)):
        return sorted((plain(item) for item in value), key=str)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Exception):
        return f"{type(value).__name__}: {value}"
    return value


def emit(step, value):
    """Print one line of the transcript."""
    print(json.dumps({"step": step, "value": plain(value)}, sort_keys=True), flush=True)


def _seen(step, value, expected, deadline, repeats):
    """Whether the polling in settle is over, and the book-keeping of it."""
    if plain(value) != plain(expected) and time.monotonic() < deadline:
        return False
    settled["reads"] += 1
    settled["repeats"] += repeats
    if plain(value) != plain(expected):
        settled["gave_up"].append(step)
    emit(step, value)
    return True


def settle(step, read, expected):
    """Read until the value is the expected one, then print the value that was read last.

    This is an honest weakness of what is tested, not of the test: a replica is behind its master, so a read of a key
    that this application has just written may show the state before. An application that talks to one plain Redis
    needs no such loop. The loop does not hide wrong values: it prints what the server said last, and if the
    expected value never comes the transcript differs. Against a plain Redis the harness demands zero repeats.
    """
    deadline, repeats = time.monotonic() + SETTLE_SECONDS, 0
    while True:
        value = outcome(read)
        if _seen(step, value, expected, deadline, repeats):
            return value
        repeats += 1
        time.sleep(0.002)


async def settle_async(step, read, expected):
    """The same as settle, for a coroutine function."""
    deadline, repeats = time.monotonic() + SETTLE_SECONDS, 0
    while True:
        value = await outcome_async(read)
        if _seen(step, value, expected, deadline, repeats):
            return value
        repeats += 1
        await asyncio.sleep(0.002)


def outcome(call):
    """What a call returns, or the server's error that it raises, as a value to print."""
    from redis.exceptions import RedisError

    try:
        return call()
    except RedisError as error:
        return error


async def outcome_async(call):
    """The same as outcome, for a coroutine function."""
    from redis.exceptions import RedisError

    try:
        return await call()
    except RedisError as error:
        return error


def digest(values):
    """A short name of many values, each with its length in front so that no two lists have the same bytes."""
    sha = hashlib.sha256()
    for value in values:
        data = value if isinstance(value, bytes) else str(value).encode()
        sha.update(b"%d:" % len(data) + data)
    return sha.hexdigest()[:16]


def finish(library):
    """The line on stderr that ends a run."""
    print(json.dumps({"library": library, "settle": settled}), file=sys.stderr, flush=True)
