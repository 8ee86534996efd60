"""redis-py with its client-side cache (CacheConfig): the server tells the client which keys have changed.

Usage: app_cache.py HOST:PORT 3. Knows nothing of an ambassador. Prints a transcript (see transcript.py).
"""

import sys
import time

import redis
from redis.cache import CacheConfig

from transcript import emit, finish

HOST, _, PORT = sys.argv[1].rpartition(":")
SECONDS = 5


def connect(**options):
    """A client with the library's own defaults but for the protocol."""
    return redis.Redis(host=HOST, port=int(PORT), protocol=int(sys.argv[2]), **options)


def become(read, wanted):
    """The value that is read last: the message about a change travels beside the writer's reply, not before it."""
    deadline = time.monotonic() + SECONDS
    while (value := read()) != wanted and time.monotonic() < deadline:
        time.sleep(0.002)
    return value


def gets(client):
    """How many GETs the server ran."""
    return client.info("commandstats").get("cmdstat_get", {"calls": 0})["calls"]


def main():
    """One client that keeps what it read, another that changes it."""
    cached, writer = connect(cache_config=CacheConfig()), connect()
    writer.mset({"a": "one", "b": "two"})
    try:
        cached.ping()
    except redis.ConnectionError as refusal:
        # redis-py caches with Redis 7.4 or later alone, by the version of the handshake (Valkey says 7.2.4). What is
        # compared on the others is that it is refused there and here; any other failure is no refusal.
        if "client-side caching is supported by" not in str(refusal):
            raise
        emit("cache.refused", [str(refusal), writer.info("server")["redis_version"]])
        return
    emit("cache.first", become(lambda: cached.get("a"), b"one"))
    emit("cache.size", cached.get_cache().size)
    before = gets(writer)
    emit("cache.hits", [cached.get("a") for _ in range(50)])
    emit("cache.asked_the_server", gets(writer) - before)
    for number in range(20):
        writer.set("a", f"value {number}")
        emit("cache.invalidated", become(lambda: cached.get("a"), f"value {number}".encode()))
    emit("cache.mget", become(lambda: cached.mget("a", "b"), [b"value 19", b"two"]))
    emit("cache.hash", [cached.hset("h", "f", "v"), become(lambda: cached.hget("h", "f"), b"v")])
    writer.hset("h", "f", "w")
    emit("cache.hash_changed", become(lambda: cached.hget("h", "f"), b"w"))
    emit("cache.own_write", [cached.set("a", "mine"), become(lambda: cached.get("a"), b"mine")])
    writer.delete("a")
    emit("cache.deleted", become(lambda: cached.get("a"), None))
    emit("cache.missing", cached.get("none"))
    emit("cache.transaction", cached.pipeline().set("t", 1).incr("t").get("t").execute())
    writer.flushall()
    emit("cache.flushed", become(lambda: cached.get("b"), None))
    for client in (cached, writer):
        client.close()


main()
finish(f"redis-py {redis.__version__} with cache")
