"""An application on redis.asyncio, the other half of redis-py: twenty tasks over one pool, pipelines, pub/sub, locks.

What services do with it all day long, a stream with its workers, a listener, a guarded job, is in async_work.py.

Usage: app_async.py HOST:PORT PROTOCOL. Knows nothing of an ambassador. Prints a transcript (see transcript.py).
"""

import asyncio
import sys

import redis
import redis.asyncio
from redis.exceptions import WatchError

import async_work
from transcript import digest, emit, finish, outcome_async, settle_async

HOST, _, PORT = sys.argv[1].rpartition(":")
PROTOCOL = int(sys.argv[2])


def connect(**options):
    """A client with the library's own defaults but for the protocol."""
    return redis.asyncio.Redis(host=HOST, port=int(PORT), protocol=PROTOCOL, **options)


async def main():
    """Every step, one after the other, each on keys of its own."""
    client = connect()
    emit("connect.ping", await client.ping())
    for step in (basics, pipelines, optimistic, scripts, scan, publish_subscribe, blocking_pop, streams, databases,
                 binary_and_large, errors, pool, lock):
        await step(client)
    await async_work.run(client, connect)
    await client.aclose()


async def basics(client):
    named = connect(client_name="orders", decode_responses=True)
    emit("basics.name", await named.client_getname())
    await named.aclose()
    emit("basics.set", await client.set("s:a", "one"))
    await settle_async("basics.get", lambda: client.get("s:a"), b"one")
    emit("basics.incr", await client.incr("c:a", 5))
    emit("basics.hset", await client.hset("h:a", mapping={"f": "v", "g": "w"}))
    await settle_async("basics.hgetall", lambda: client.hgetall("h:a"), {b"f": b"v", b"g": b"w"})
    emit("basics.rpush", await client.rpush("l:a", "a", "b"))
    await settle_async("basics.lrange", lambda: client.lrange("l:a", 0, -1), [b"a", b"b"])
    emit("basics.zadd", await client.zadd("z:a", {"m": 1.5, "n": 2.5}))
    await settle_async("basics.zscore", lambda: client.zscore("z:a", "m"), 1.5)
    emit("basics.sadd", await client.sadd("t:a", "x", "y"))
    await settle_async("basics.scard", lambda: client.scard("t:a"), 2)


async def pipelines(client):
    pipe = client.pipeline(transaction=False)
    pipe.set("p:a", "1").incr("p:a").get("p:a").lpush("p:a", "wrong").get("p:a")
    emit("pipelines.mixed", await pipe.execute(raise_on_error=False))
    for i in range(5000):
        pipe.set(f"p:k{i}", f"value-{i}")
    emit("pipelines.large_set", digest(await pipe.execute()))

    async def read_all():
        reads = client.pipeline(transaction=False)
        for i in range(5000):
            reads.get(f"p:k{i}")
        return digest(await reads.execute())

    await settle_async("pipelines.large_get", read_all, digest(f"value-{i}".encode() for i in range(5000)))
    async with client.pipeline(transaction=True) as transaction:
        transaction.set("m:a", "5").incr("m:a").get("m:a").zadd("m:z", {"x": 1}).zscore("m:z", "x")
        emit("pipelines.exec", await transaction.execute())


async def optimistic(client):
    """Four tasks add to one number by WATCH, GET, MULTI, SET, EXEC: no update may get lost."""
    await client.set("w:sum", 0)

    async def add():
        done = 0
        async with client.pipeline() as pipe:
            while done < 25:
                try:
                    await pipe.watch("w:sum")
                    value = int(await pipe.get("w:sum"))
                    pipe.multi()
                    pipe.set("w:sum", value + 1)
                    await pipe.execute()
                    done += 1
                except WatchError:
                    continue
        return done

    emit("optimistic.updates", sum(await asyncio.gather(*(add() for _ in range(4)))))
    await settle_async("optimistic.sum", lambda: client.get("w:sum"), b"100")


async def scripts(client):
    script = client.register_script("return {KEYS[1], redis.call('INCRBY', KEYS[1], ARGV[1])}")
    await client.script_flush()  # so that EVALSHA meets NOSCRIPT and the library's helper has to load it
    emit("scripts.first", await script(keys=["lua:a"], args=[3]))
    emit("scripts.cached", await script(keys=["lua:a"], args=[4]))


async def scan(client):
    await client.mset({f"scan:{i}": i for i in range(1000)})
    expected = digest(sorted(f"scan:{i}".encode() for i in range(1000)))

    async def iterate():
        return digest(sorted({key async for key in client.scan_iter("scan:*", count=50)}))

    await settle_async("scan.match", iterate, expected)


async def publish_subscribe(client):
    async with client.pubsub() as subscriber:
        await subscriber.subscribe("news")
        emit("pubsub.confirmation", await subscriber.get_message(timeout=5))
        emit("pubsub.receivers", sum(await asyncio.gather(*(client.publish("news", f"{i:02}") for i in range(20)))))
        messages = [await subscriber.get_message(timeout=5) for _ in range(20)]
        emit("pubsub.messages", sorted(message["data"] for message in messages if message))


async def blocking_pop(client):
    waiting = asyncio.create_task(client.blpop(["block:a", "block:b"], 10))
    deadline = asyncio.get_running_loop().time() + 5
    while (await client.info("clients"))["blocked_clients"] == 0 and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.005)
    emit("blocking.push", await client.rpush("block:b", "job"))
    emit("blocking.popped", await waiting)
    emit("blocking.timeout", await client.blpop("block:a", 0.05))


async def streams(client):
    emit("streams.xadd", [await client.xadd("x:s", {"n": str(i)}, id=f"{i + 1}-0") for i in range(3)])
    emit("streams.group", await client.xgroup_create("x:s", "workers", id="0"))
    emit("streams.read", await client.xreadgroup("workers", "w1", {"x:s": ">"}, count=2))
    emit("streams.ack", await client.xack("x:s", "workers", "1-0"))
    await settle_async("streams.xlen", lambda: client.xlen("x:s"), 3)


async def databases(client):
    second = connect(db=1)
    await asyncio.gather(second.set("db:k", "in one"), client.set("db:k", "in zero"))
    await settle_async("databases.one", lambda: second.get("db:k"), b"in one")
    await settle_async("databases.zero", lambda: client.get("db:k"), b"in zero")
    emit("databases.flush", await second.flushdb())
    await settle_async("databases.one_empty", lambda: second.get("db:k"), None)
    await settle_async("databases.zero_kept", lambda: client.get("db:k"), b"in zero")
    await second.aclose()


async def binary_and_large(client):
    value = bytes(range(256)) + b"\r\n$5\r\nhello\r\n*1\r\n+OK\r\n-ERR x\r\n"
    await client.set(b"bin:\r\n\x00\xff", value)
    await settle_async("binary.get", lambda: client.get(b"bin:\r\n\x00\xff"), value)
    value = bytes((i * 7 + i // 251) % 256 for i in range(1 << 20))
    await asyncio.gather(*(client.set(f"big:{i}", value) for i in range(4)))

    async def read():
        return digest(item or b"" for item in await asyncio.gather(*(client.get(f"big:{i}") for i in range(4))))

    await settle_async("large.get", read, digest([value] * 4))
    emit("large.del", await client.delete(*(f"big:{i}" for i in range(4))))


async def errors(client):
    await client.set("err:s", "text")
    emit("errors.wrong_type", await outcome_async(lambda: client.lpush("err:s", "x")))
    emit("errors.unknown", await outcome_async(lambda: client.execute_command("NOSUCH", "a", "b\r\nc")))
    emit("errors.arity", await outcome_async(lambda: client.execute_command("GET")))
    emit("errors.then_ping", await client.ping())


async def pool(client):
    """Twenty tasks over one client: its pool opens a connection for each that is busy at once."""

    async def work(number):
        for i in range(20):
            await client.incr("pool:n")
            await client.hset(f"pool:{number}", f"f{i}", i)
        return number

    emit("pool.done", sum(await asyncio.gather(*(work(n) for n in range(20)))))
    await settle_async("pool.sum", lambda: client.get("pool:n"), b"400")


async def lock(client):
    total = {"value": 0}

    async def guarded():
        async with client.lock("lock:a", timeout=30, sleep=0.002):
            seen = total["value"]
            await client.incr("lock:n")
            total["value"] = seen + 1

    await asyncio.gather(*(guarded() for _ in range(12)))
    emit("lock.exclusive", total["value"])
    await settle_async("lock.count", lambda: client.get("lock:n"), b"12")


asyncio.run(main())
parser = redis.asyncio.connection.DefaultParser.__name__
finish(f"redis.asyncio {redis.__version__} {parser}")
