"""A Django cache on django-redis: values, counters, time to live, patterns, locks, sessions.

Usage: app.py HOST:PORT PROTOCOL. Knows nothing of an ambassador. Prints a transcript.
"""

import importlib.metadata
import sys
from concurrent.futures import ThreadPoolExecutor

import django
import redis
from django.conf import settings

from transcript import emit, finish, settle

POOL = {"protocol": int(sys.argv[2])}
LOCATION = f"redis://{sys.argv[1]}"
settings.configure(CACHES={
    "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": f"{LOCATION}/0", "KEY_PREFIX": "shop",
                "OPTIONS": {"CONNECTION_POOL_KWARGS": POOL}},
    "packed": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": f"{LOCATION}/1",
               "OPTIONS": {"CONNECTION_POOL_KWARGS": POOL, "COMPRESSOR": "django_redis.compressors.zlib.ZlibCompressor",
                           "SERIALIZER": "django_redis.serializers.json.JSONSerializer"}},
})
django.setup()

from django.contrib.sessions.backends.cache import SessionStore  # noqa: E402
from django.core.cache import cache, caches  # noqa: E402
from django_redis import get_redis_connection  # noqa: E402


def main():
    """Every step, one after the other."""
    for step in (values, counters, time_to_live, patterns, locks, packed, sessions, raw):
        step()
    cache.close()


def values():
    emit("values.set", cache.set("a", {"name": "Ada", "tags": [1, 2]}))
    settle("values.get", lambda: cache.get("a"), {"name": "Ada", "tags": [1, 2]})
    emit("values.add", [cache.add("a", "no"), cache.add("b", "yes")])
    emit("values.set_nx", cache.set("b", "no", nx=True))
    emit("values.set_many", cache.set_many({f"m{i}": i for i in range(20)}))
    settle("values.get_many", lambda: cache.get_many([f"m{i}" for i in range(21)]), {f"m{i}": i for i in range(20)})
    settle("values.default", lambda: cache.get("none", "default"), "default")
    settle("values.has_key", lambda: [cache.has_key("a"), "none" in cache], [True, False])
    emit("values.get_or_set", cache.get_or_set("made", lambda: "made here"))
    emit("values.delete", [cache.delete("b"), cache.delete("b")])
    emit("values.delete_many", cache.delete_many(["m0", "m1", "none"]))
    settle("values.deleted", lambda: cache.get("m0"), None)


def counters():
    cache.set("n", 5)
    emit("counters.incr", [cache.incr("n"), cache.incr("n", 10), cache.decr("n")])
    settle("counters.get", lambda: cache.get("n"), 15)
    emit("counters.missing", failure(lambda: cache.incr("no such")))

    def add(_):
        return [cache.incr("n") for _ in range(20)][-1] > 0

    with ThreadPoolExecutor(8) as threads:
        emit("counters.threads", sum(threads.map(add, range(8))))
    settle("counters.sum", lambda: cache.get("n"), 175)
    emit("counters.version", cache.incr_version("n"))
    settle("counters.new_version", lambda: [cache.get("n"), cache.get("n", version=2)], [None, 175])


def time_to_live():
    cache.set("short", 1, timeout=100)
    cache.set("ever", 1, timeout=None)
    settle("ttl.short", lambda: 0 < cache.ttl("short") <= 100, True)
    settle("ttl.ever", lambda: cache.ttl("ever"), None)
    settle("ttl.missing", lambda: cache.ttl("none"), 0)
    emit("ttl.expire", cache.expire("ever", 50))
    settle("ttl.expiring", lambda: 0 < (cache.pttl("ever") or 0) <= 50_000, True)
    emit("ttl.persist", cache.persist("ever"))
    emit("ttl.touch", [cache.touch("short", 200), cache.touch("none")])
    settle("ttl.touched", lambda: 100 < cache.ttl("short") <= 200, True)


def patterns():
    cache.set_many({f"page:{i}": i for i in range(300)})
    # Patterns are searched for by SCAN; a set that was only just written is waited for.
    settle("patterns.keys", lambda: len(cache.keys("page:*")), 300)
    settle("patterns.iter_keys", lambda: sorted(cache.iter_keys("page:29*", itersize=50)),
           sorted(["page:29", *(f"page:{i}" for i in range(290, 300))]))
    emit("patterns.delete_pattern", cache.delete_pattern("page:*", itersize=50))
    settle("patterns.none", lambda: cache.keys("page:*"), [])
    settle("patterns.others", lambda: cache.get("made"), "made here")


def locks():
    total = {"value": 0}

    def guarded(_):
        with cache.lock("guard", timeout=30, sleep=0.002):
            seen = total["value"]
            cache.set("in the lock", seen)
            total["value"] = seen + 1

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(guarded, range(18)))
    emit("locks.exclusive", total["value"])
    lock = cache.lock("guard", timeout=30)
    emit("locks.acquire", lock.acquire(blocking=False))
    emit("locks.second", cache.lock("guard", timeout=30).acquire(blocking=False))
    emit("locks.release", lock.release())


def packed():
    other = caches["packed"]
    other.set("big", {"text": "x" * 100_000})
    settle("packed.get", lambda: other.get("big") == {"text": "x" * 100_000}, True)
    settle("packed.not_in_default", lambda: cache.get("big"), None)
    emit("packed.clear", other.clear())
    settle("packed.empty", lambda: other.get("big"), None)


def sessions():
    session = SessionStore()
    session["cart"] = [1, 2, 3]
    session.save()
    settle("sessions.load", lambda: SessionStore(session.session_key).get("cart"), [1, 2, 3])
    session.flush()
    emit("sessions.flushed", session.session_key)


def raw():
    client = get_redis_connection("default")
    with client.pipeline() as pipe:
        emit("raw.pipeline", pipe.set("raw", 1).incr("raw").get("raw").execute())
    settle("raw.get", lambda: client.get("raw"), b"2")


def failure(call):
    """What a call that must not work raises."""
    try:
        return call()
    except ValueError as error:
        return error


main()
finish(f"django-redis {importlib.metadata.version('django-redis')} on redis-py {redis.__version__}")
