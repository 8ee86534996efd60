"""The rest of app_async.py: a stream with its workers, subscribers that listen, guarded jobs, pools that have an end."""

import asyncio

import redis
from redis.exceptions import LockError, WatchError

from transcript import emit, outcome_async, settle_async

SECONDS = 5
ORDERS = 60


async def run(client, connect):
    """Every step, one after the other, each on keys of its own."""
    for step in (workers, abandoned, blocked_reader, listeners, handlers, locks, checked_pipelines, pools):
        await step(client, connect)


async def outcome_of_lock(awaitable):
    """What awaiting gives, or the kind of the lock's failure."""
    try:
        return await awaitable
    except LockError as error:
        return type(error).__name__


async def workers(client, connect):
    """Three consumers of one group share a stream while it is written: each entry is done once."""
    emit("workers.group", await client.xgroup_create("aw:orders", "shop", id="0", mkstream=True))
    done, end = {}, asyncio.Event()

    async def consume(name):
        while not end.is_set():
            for _, entries in items(await client.xreadgroup("shop", name, {"aw:orders": ">"}, count=5, block=20)):
                for entry, fields in entries:
                    done[entry] = done.get(entry, 0) + int(fields[b"n"])
                    await client.xack("aw:orders", "shop", entry)
            if len(done) == ORDERS:
                end.set()

    consumers = [asyncio.create_task(consume(f"worker-{number}")) for number in range(3)]
    ids = await asyncio.gather(*(client.xadd("aw:orders", {"n": number}) for number in range(ORDERS)))
    await asyncio.wait_for(asyncio.gather(*consumers), SECONDS)
    emit("workers.done", [len(ids), sorted(done) == sorted(ids), sum(done.values())])
    emit("workers.pending", await client.xpending("aw:orders", "shop"))
    emit("workers.trimmed", await client.xtrim("aw:orders", maxlen=10, approximate=False))
    await settle_async("workers.length", lambda: client.xlen("aw:orders"), 10)


def items(reply):
    """What XREADGROUP gives: a list of pairs in RESP2, in RESP3 a mapping whose values hold the entries in a list."""
    if isinstance(reply, dict):
        return [(stream, entries[0] if entries else []) for stream, entries in reply.items()]
    return reply or []


async def abandoned(client, connect):
    """A consumer dies with entries that it never acknowledged; another claims them."""
    for number in range(1, 8):
        await client.xadd("aw:jobs", {"job": number}, id=f"{number}-0")
    await client.xgroup_create("aw:jobs", "team", id="0")
    emit("abandoned.taken", await client.xreadgroup("team", "dies", {"aw:jobs": ">"}, count=5))
    emit("abandoned.acked", await client.xack("aw:jobs", "team", "1-0", "99-0"))

    async def pending():
        entries = await client.xpending_range("aw:jobs", "team", "-", "+", 10)
        return [[entry["message_id"], entry["consumer"], entry["times_delivered"]] for entry in entries]

    emit("abandoned.pending", await pending())
    emit("abandoned.claimed", await client.xautoclaim("aw:jobs", "team", "lives", 0, "0-0", count=2))
    emit("abandoned.claimed_ids", await client.xautoclaim("aw:jobs", "team", "lives", 0, "4-0", justid=True))
    emit("abandoned.too_young", await client.xautoclaim("aw:jobs", "team", "other", 3_600_000))
    emit("abandoned.claim", await client.xclaim("aw:jobs", "team", "third", 0, ["5-0"]))
    emit("abandoned.owners", await pending())
    emit("abandoned.again", await client.xreadgroup("team", "lives", {"aw:jobs": "0"}))
    emit("abandoned.counted_again", await pending())
    emit("abandoned.deleted", await client.xdel("aw:jobs", "3-0"))
    emit("abandoned.deleted_claim", await client.xautoclaim("aw:jobs", "team", "lives", 0))
    emit("abandoned.rest", await client.xreadgroup("team", "lives", {"aw:jobs": ">"}, noack=True))

    async def groups():
        found = await client.xinfo_groups("aw:jobs")
        return [[group["name"], group["consumers"], group["pending"], group["last-delivered-id"]] for group in found]

    emit("abandoned.groups", await groups())
    emit("abandoned.left", [await client.xgroup_delconsumer("aw:jobs", "team", name) for name in ("lives", "third", "dies", "other")])
    emit("abandoned.destroyed", await client.xgroup_destroy("aw:jobs", "team"))
    emit("abandoned.no_group", await outcome_async(lambda: client.xreadgroup("team", "lives", {"aw:jobs": ">"})))


async def blocked_reader(client, connect):
    """XREAD BLOCK $ sees what is added after it began to wait, and nothing of before."""
    await client.xadd("aw:log", {"line": "before"}, id="1-0")
    reader = connect(single_connection_client=True)
    waiting = asyncio.create_task(reader.xread({"aw:log": "$"}, block=SECONDS * 1000))
    await until(lambda: blocked(client))
    emit("blocked.added", await client.xadd("aw:log", {"line": "after"}, id="2-0"))
    emit("blocked.read", await waiting)
    waiting = asyncio.create_task(reader.xread({"aw:log": "$"}, block=SECONDS * 1000))
    await until(lambda: blocked(client))
    waiting.cancel()
    emit("blocked.cancelled", isinstance((await asyncio.gather(waiting, return_exceptions=True))[0], asyncio.CancelledError))
    # The library drops the connection of a command that was cancelled, and goes on.
    emit("blocked.goes_on", await reader.ping())
    await reader.aclose()


async def blocked(client):
    """Whether the server itself says that a client waits."""
    return (await client.info("clients"))["blocked_clients"] > 0


async def until(done):
    """Until done() is true or the time is over; what comes next says which."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SECONDS
    while not await done() and loop.time() < deadline:
        await asyncio.sleep(0.005)


async def listeners(client, connect):
    """Five subscribers iterate over listen() in tasks; all of them get all of it in order, until they are told to stop."""

    confirmed = asyncio.Semaphore(0)

    async def listen(subscriber):
        heard = []
        async for message in subscriber.listen():
            if message["type"] not in ("message", "pmessage"):
                confirmed.release()
                continue
            if message["data"] == b"stop":
                return heard
            heard.append([message["type"], message["channel"], message["data"]])

    subscribers = [client.pubsub() for _ in range(5)]
    for subscriber in subscribers[:3]:
        await subscriber.subscribe("aw:one", "aw:two")
    for subscriber in subscribers[3:]:
        await subscriber.psubscribe("aw:o*", "aw:t?o")
    tasks = [asyncio.create_task(listen(subscriber)) for subscriber in subscribers]
    # The server counts a pattern once, whoever has it.
    for _ in range(2 * len(subscribers)):
        await asyncio.wait_for(confirmed.acquire(), SECONDS)
    await until(lambda: counted(client, 3, 2))
    receivers = [await client.publish("aw:one" if number % 2 else "aw:two", number) for number in range(30)]
    emit("listeners.receivers", receivers + [await client.publish("aw:one", "stop")])
    emit("listeners.heard", await asyncio.wait_for(asyncio.gather(*tasks), SECONDS))
    await asyncio.gather(*(subscriber.aclose() for subscriber in subscribers))
    await until(lambda: counted(client, 0, 0))
    emit("listeners.gone", [await client.pubsub_numsub("aw:one"), await client.pubsub_numpat()])


async def counted(client, channel, patterns):
    """Whether the server knows so many subscribers."""
    return dict(await client.pubsub_numsub("aw:two")).get(b"aw:two") == channel and await client.pubsub_numpat() == patterns


async def handlers(client, connect):
    """Handlers instead of a loop; the subscription changes while messages flow."""
    heard = []

    async def handle(message):
        heard.append(message["data"])

    async with client.pubsub(ignore_subscribe_messages=True) as subscriber:
        await subscriber.subscribe(**{"aw:first": handle})
        await until(lambda: pumped(subscriber, lambda: subscriber.subscribed))
        emit("handlers.first", await client.publish("aw:first", "one"))
        await until(lambda: pumped(subscriber, lambda: len(heard) == 1))
        await subscriber.subscribe(**{"aw:second": handle})
        await subscriber.unsubscribe("aw:first")
        await until(lambda: pumped(subscriber, lambda: list(subscriber.channels) == [b"aw:second"]))
        emit("handlers.moved", [await client.publish("aw:first", "lost"), await client.publish("aw:second", "two")])
        await until(lambda: pumped(subscriber, lambda: len(heard) == 2))
        await subscriber.ping()
        await subscriber.get_message(timeout=SECONDS)
    emit("handlers.heard", heard)


async def pumped(subscriber, done):
    """Takes one message, if there is one, and says whether that was enough."""
    await subscriber.get_message(timeout=0.02)
    return done()


async def locks(client, connect):
    """Locks that run out, are extended, are waited for and are lost."""
    mine, theirs = client.lock("aw:lock", timeout=30), client.lock("aw:lock", timeout=30, blocking_timeout=0.05)
    emit("locks.acquire", [await mine.acquire(), await theirs.acquire()])
    await settle_async("locks.owned", mine.owned, True)
    await settle_async("locks.locked", theirs.locked, True)
    emit("locks.extend", [await mine.extend(5), await mine.extend(40, replace_ttl=True), await mine.reacquire()])
    emit("locks.theirs", await outcome_of_lock(theirs.release()))
    waiting = asyncio.create_task(client.lock("aw:lock", timeout=30, sleep=0.005).acquire(blocking_timeout=SECONDS))
    emit("locks.released", await mine.release())
    emit("locks.waited_for", await waiting)
    emit("locks.not_mine_any_more", await outcome_of_lock(mine.release()))
    await client.delete("aw:lock")
    short = client.lock("aw:short", timeout=0.03)
    emit("locks.short", await short.acquire())
    await asyncio.sleep(0.06)
    emit("locks.ran_out", await outcome_of_lock(short.release()))


async def checked_pipelines(client, connect):
    """Optimistic transactions of many tasks with the library's own helper, and a pipeline that was given up."""
    await client.set("aw:stock", 40)

    async def buy(pipe):
        left = int(await pipe.get("aw:stock"))
        pipe.multi()
        if left > 0:
            pipe.decr("aw:stock").incr("aw:sold")

    async def buyer():
        bought = 0
        for _ in range(10):
            while True:
                try:
                    bought += len(await client.transaction(buy, "aw:stock")) // 2
                    break
                except WatchError:
                    continue
        return bought

    emit("checked.bought", sum(await asyncio.gather(*(buyer() for _ in range(5)))))
    await settle_async("checked.left", lambda: client.mget("aw:stock", "aw:sold"), [b"0", b"40"])
    async with client.pipeline() as pipe:
        await pipe.watch("aw:stock")
        pipe.multi()
        pipe.set("aw:stock", "never")
        await pipe.reset()
        emit("checked.after_reset", await pipe.set("aw:stock", 1).get("aw:stock").execute())


async def pools(client, connect):
    """A pool that refuses, and one that makes its users wait; all of them do their work."""
    options = client.connection_pool.connection_kwargs
    keep = {name: options[name] for name in ("host", "port", "protocol")}
    waits = redis.asyncio.Redis.from_pool(redis.asyncio.BlockingConnectionPool(max_connections=2, timeout=SECONDS, **keep))
    await asyncio.gather(*(waits.incr("aw:pool") for _ in range(40)))
    await settle_async("pools.waited", lambda: waits.get("aw:pool"), b"40")
    refuses = redis.asyncio.Redis.from_pool(redis.asyncio.ConnectionPool(max_connections=1, **keep))
    results = await asyncio.gather(refuses.blpop("aw:none", 0.05), refuses.ping(), return_exceptions=True)
    emit("pools.refused", [results[0], type(results[1]).__name__])
    emit("pools.then", await refuses.ping())
    await refuses.connection_pool.disconnect()
    emit("pools.reconnects", await refuses.echo("again"))
    await asyncio.gather(waits.aclose(), refuses.aclose())
