"""An application on redis-py as people write them: blocking client, connection pool, threads, scripts, locks.

Usage: app.py HOST:PORT PROTOCOL. Knows nothing of an ambassador. Prints a transcript (see transcript.py).
"""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import redis
from redis.exceptions import LockError, WatchError

from transcript import digest, emit, finish, outcome, settle

HOST, _, PORT = sys.argv[1].rpartition(":")
PROTOCOL = int(sys.argv[2])
TRANSFER = """
local have = tonumber(redis.call('GET', KEYS[1]) or '0')
local amount = tonumber(ARGV[1])
if have < amount then return redis.error_reply('ERR only ' .. have .. ' left') end
redis.call('DECRBY', KEYS[1], amount)
redis.call('INCRBY', KEYS[2], amount)
return {have - amount, redis.call('GET', KEYS[2])}
"""


def connect(**options):
    """A client with the library's own defaults but for the protocol."""
    return redis.Redis(host=HOST, port=int(PORT), protocol=PROTOCOL, **options)


def main():
    """Every step, one after the other, each on keys of its own."""
    client = connect()
    emit("connect.ping", client.ping())
    for step in (handshake, strings, counters, hashes, lists, sets, sorted_sets, expiry, bits, pipelines, transactions,
                 optimistic, scripts, scan, publish_subscribe, blocking_pop, streams, databases, binary, large,
                 errors, pool, lock, close):
        step(client)
    client.close()


def handshake(client):
    named = connect(client_name="orders", decode_responses=True)
    emit("handshake.name", named.client_getname())
    emit("handshake.role", named.info("replication")["role"])
    emit("handshake.loading", named.info("persistence")["loading"])
    emit("handshake.version", named.info("server")["redis_version"])
    emit("handshake.echo", named.echo("hello"))
    emit("handshake.unnamed", client.client_getname())
    named.close()


def strings(client):
    emit("strings.set", client.set("s:a", "one"))
    settle("strings.get", lambda: client.get("s:a"), b"one")
    emit("strings.set_nx", client.set("s:a", "two", nx=True))
    emit("strings.set_get", client.set("s:a", "three", get=True))
    emit("strings.append", client.append("s:a", "!"))
    settle("strings.strlen", lambda: client.strlen("s:a"), 6)
    settle("strings.getrange", lambda: client.getrange("s:a", 0, 2), b"thr")
    emit("strings.mset", client.mset({"s:b": "B", "s:c": "", "s:e": "été"}))
    settle("strings.mget", lambda: client.mget("s:a", "s:b", "s:c", "s:none", "s:e"),
           [b"three!", b"B", b"", None, "été".encode()])
    emit("strings.getdel", client.getdel("s:b"))
    settle("strings.exists", lambda: client.exists("s:a", "s:b", "s:c"), 2)
    settle("strings.type", lambda: client.type("s:a"), b"string")
    emit("strings.del", client.delete("s:a", "s:b", "s:c"))
    settle("strings.get_deleted", lambda: client.get("s:a"), None)


def counters(client):
    emit("counters.incr", [client.incr("c:n") for _ in range(5)])
    emit("counters.incrby", client.incrby("c:n", 37))
    emit("counters.decr", client.decr("c:n", 2))
    emit("counters.incrbyfloat", client.incrbyfloat("c:f", 10.5))
    settle("counters.get", lambda: client.mget("c:n", "c:f"), [b"40", b"10.5"])


def hashes(client):
    emit("hashes.hset", client.hset("h:u", mapping={"name": "Ada", "age": "36", "empty": ""}))
    settle("hashes.hgetall", lambda: client.hgetall("h:u"), {b"name": b"Ada", b"age": b"36", b"empty": b""})
    emit("hashes.hincrby", client.hincrby("h:u", "age", 1))
    settle("hashes.hmget", lambda: client.hmget("h:u", "age", "nope"), [b"37", None])
    emit("hashes.hdel", client.hdel("h:u", "empty", "nope"))
    settle("hashes.hkeys", lambda: sorted(client.hkeys("h:u")), [b"age", b"name"])
    settle("hashes.hlen", lambda: client.hlen("h:u"), 2)
    client.hset("h:big", mapping={f"f{i}": i for i in range(1000)})
    settle("hashes.hscan", lambda: digest(sorted(f"{k}{v}" for k, v in dict(client.hscan_iter("h:big", count=100)).items())),
           digest(sorted(f"{f'f{i}'.encode()}{str(i).encode()}" for i in range(1000))))


def lists(client):
    emit("lists.rpush", client.rpush("l:q", "a", "b", "c", "d"))
    emit("lists.lpush", client.lpush("l:q", "z"))
    settle("lists.lrange", lambda: client.lrange("l:q", 0, -1), [b"z", b"a", b"b", b"c", b"d"])
    emit("lists.lpop", client.lpop("l:q"))
    emit("lists.lpop_count", client.lpop("l:q", 2))
    emit("lists.lmove", client.lmove("l:q", "l:done", "LEFT", "RIGHT"))
    settle("lists.llen", lambda: client.llen("l:q"), 1)
    settle("lists.lindex", lambda: client.lindex("l:done", 0), b"c")


def sets(client):
    emit("sets.sadd", client.sadd("t:x", "a", "b", "c"))
    emit("sets.sadd_again", client.sadd("t:x", "a"))
    client.sadd("t:y", "b", "c", "d")
    settle("sets.smembers", lambda: set(client.smembers("t:x")), {b"a", b"b", b"c"})
    settle("sets.sinter", lambda: set(client.sinter("t:x", "t:y")), {b"b", b"c"})
    settle("sets.sismember", lambda: bool(client.sismember("t:x", "a")), True)
    settle("sets.smismember", lambda: client.smismember("t:x", ["a", "q"]), [1, 0])
    emit("sets.sunionstore", client.sunionstore("t:z", "t:x", "t:y"))
    settle("sets.scard", lambda: client.scard("t:z"), 4)


def sorted_sets(client):
    emit("zsets.zadd", client.zadd("z:b", {"ann": 1.5, "bob": 2, "cid": 3}))
    emit("zsets.zincrby", client.zincrby("z:b", 10, "ann"))
    settle("zsets.zrange", lambda: client.zrange("z:b", 0, -1, withscores=True),
           [(b"bob", 2.0), (b"cid", 3.0), (b"ann", 11.5)])
    settle("zsets.zrangebyscore", lambda: client.zrangebyscore("z:b", 2, "(11.5"), [b"bob", b"cid"])
    settle("zsets.zscore", lambda: client.zscore("z:b", "ann"), 11.5)
    settle("zsets.zscore_missing", lambda: client.zscore("z:b", "nope"), None)
    settle("zsets.zrank", lambda: client.zrank("z:b", "ann"), 2)
    emit("zsets.zpopmin", client.zpopmin("z:b"))
    settle("zsets.zcard", lambda: client.zcard("z:b"), 2)


def expiry(client):
    client.set("e:a", "x", ex=100)
    settle("expiry.ttl", lambda: 0 < client.ttl("e:a") <= 100, True)
    emit("expiry.persist", client.persist("e:a"))
    settle("expiry.ttl_none", lambda: client.ttl("e:a"), -1)
    emit("expiry.expire", client.expire("e:a", 50))
    settle("expiry.pttl", lambda: 0 < client.pttl("e:a") <= 50_000, True)
    settle("expiry.ttl_missing", lambda: client.ttl("e:none"), -2)
    client.set("e:b", "x", px=30)
    # The expiry travels as a point in time: once it has passed, every replica says nil, however late it is.
    time.sleep(0.06)
    emit("expiry.gone", client.get("e:b"))


def bits(client):
    emit("bits.setbit", client.setbit("b:m", 7, 1))
    settle("bits.bitcount", lambda: client.bitcount("b:m"), 1)
    settle("bits.getbit", lambda: client.getbit("b:m", 7), 1)
    emit("bits.pfadd", client.pfadd("b:hll", "a", "b", "c"))
    settle("bits.pfcount", lambda: client.pfcount("b:hll"), 3)
    emit("bits.geoadd", client.geoadd("b:geo", (13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania")))
    settle("bits.geodist", lambda: client.geodist("b:geo", "Palermo", "Catania", unit="km"), 166.2742)


def pipelines(client):
    pipe = client.pipeline(transaction=False)
    pipe.set("p:a", "1").incr("p:a").get("p:a").hset("p:h", "f", "v").hgetall("p:h").lpush("p:a", "wrong").get("p:a")
    emit("pipelines.mixed", pipe.execute(raise_on_error=False))
    pipe = client.pipeline(transaction=False)
    for i in range(5000):
        pipe.set(f"p:k{i}", f"value-{i}")
    replies = pipe.execute()
    emit("pipelines.large_set", [len(replies), all(replies)])
    settle("pipelines.large_get", lambda: digest(read_all(client)), digest(f"value-{i}".encode() for i in range(5000)))
    for i in range(2500):
        pipe.incr("p:n").echo(f"e{i}")
    emit("pipelines.large_order", digest(pipe.execute()))
    for i in range(5000):
        pipe.delete(f"p:k{i}")
    emit("pipelines.large_del", sum(pipe.execute()))


def read_all(client):
    """5,000 GETs in one pipeline."""
    pipe = client.pipeline(transaction=False)
    for i in range(5000):
        pipe.get(f"p:k{i}")
    return pipe.execute()


def transactions(client):
    with client.pipeline(transaction=True) as pipe:
        pipe.set("m:a", "5").incr("m:a").get("m:a").zadd("m:z", {"x": 1}).zrange("m:z", 0, -1, withscores=True)
        emit("transactions.exec", pipe.execute())
        pipe.set("m:s", "text").lpush("m:s", "x").set("m:t", "after")
        emit("transactions.error_inside", pipe.execute(raise_on_error=False))
    settle("transactions.after_error", lambda: client.get("m:t"), b"after")
    with client.pipeline() as pipe:
        pipe.set("m:u", "never").execute_command("NOSUCH")
        emit("transactions.aborted", outcome(pipe.execute))
    settle("transactions.not_run", lambda: client.get("m:u"), None)


def optimistic(client):
    """Four threads add to one number by WATCH, GET, MULTI, SET, EXEC: no update may get lost."""
    client.set("w:sum", 0)

    def add(_):
        done = 0
        with client.pipeline() as pipe:
            while done < 25:
                try:
                    pipe.watch("w:sum")
                    value = int(pipe.get("w:sum"))
                    pipe.multi()
                    pipe.set("w:sum", value + 1)
                    pipe.execute()
                    done += 1
                except WatchError:
                    continue
        return done

    with ThreadPoolExecutor(4) as threads:
        emit("optimistic.updates", sum(threads.map(add, range(4))))
    settle("optimistic.sum", lambda: client.get("w:sum"), b"100")
    other = connect()
    with client.pipeline() as pipe:
        pipe.watch("w:sum")
        other.set("w:sum", "touched")
        pipe.multi()
        pipe.set("w:sum", "lost")
        emit("optimistic.conflict", outcome(pipe.execute))
    settle("optimistic.kept", lambda: client.get("w:sum"), b"touched")
    emit("optimistic.helper", client.transaction(lambda pipe: (pipe.multi(), pipe.incr("w:n")), "w:n"))
    other.close()


def scripts(client):
    transfer = client.register_script(TRANSFER)
    client.script_flush()  # so that EVALSHA meets NOSCRIPT and the library's helper has to load it
    client.set("lua:a", 10)
    emit("scripts.first", transfer(keys=["lua:a", "lua:b"], args=[3]))
    emit("scripts.cached", transfer(keys=["lua:a", "lua:b"], args=[4]))
    emit("scripts.error", str(outcome(lambda: transfer(keys=["lua:a", "lua:b"], args=[99]))).split(" script:")[0])
    pipe = client.pipeline()
    transfer(keys=["lua:a", "lua:b"], args=[1], client=pipe)
    pipe.get("lua:a")
    emit("scripts.pipeline", pipe.execute())
    emit("scripts.eval", client.eval("return {1, 'two', false, {3}}", 0))
    emit("scripts.exists", client.script_exists(transfer.sha, "0" * 40))
    settle("scripts.balance", lambda: client.mget("lua:a", "lua:b"), [b"2", b"8"])


def scan(client):
    client.mset({f"scan:{i}": i for i in range(1000)})
    expected = sorted(f"scan:{i}".encode() for i in range(1000))
    settle("scan.match", lambda: digest(sorted(set(client.scan_iter("scan:*", count=50)))), digest(expected))
    settle("scan.keys", lambda: digest(sorted(client.keys("scan:*"))), digest(expected))
    emit("scan.unlink", client.unlink(*expected))
    settle("scan.none", lambda: list(client.scan_iter("scan:*", count=500)), [])


def publish_subscribe(client):
    subscriber = client.pubsub()
    subscriber.subscribe("news")
    subscriber.psubscribe("we*")
    emit("pubsub.confirmations", [subscriber.get_message(timeout=5) for _ in range(2)])
    emit("pubsub.receivers", [client.publish("news", f"item {i}") for i in range(20)] + [client.publish("weather", "rain")])
    emit("pubsub.messages", [subscriber.get_message(timeout=5) for _ in range(21)])
    emit("pubsub.numsub", client.pubsub_numsub("news"))
    subscriber.unsubscribe("news")
    emit("pubsub.unsubscribed", subscriber.get_message(timeout=5))
    emit("pubsub.nobody", client.publish("news", "lost"))
    subscriber.close()


def blocking_pop(client):
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.blpop, ["block:a", "block:b"], 10)
        wait_for_blocked(client)
        emit("blocking.push", client.rpush("block:b", "job"))
        emit("blocking.popped", waiting.result())
    emit("blocking.timeout", client.blpop("block:a", 0.05))
    client.rpush("block:a", "now")
    emit("blocking.immediate", client.blmove("block:a", "block:c", 1, "LEFT", "RIGHT"))


def wait_for_blocked(client):
    """Until the server itself says that a client waits, so that the push really comes second."""
    deadline = time.monotonic() + 5
    while client.info("clients")["blocked_clients"] == 0 and time.monotonic() < deadline:
        time.sleep(0.005)


def streams(client):
    emit("streams.xadd", [client.xadd("x:s", {"n": str(i)}, id=f"{i + 1}-0") for i in range(5)])
    emit("streams.group", client.xgroup_create("x:s", "workers", id="0"))
    emit("streams.read", client.xreadgroup("workers", "w1", {"x:s": ">"}, count=3))
    emit("streams.ack", client.xack("x:s", "workers", "1-0", "2-0"))
    settle("streams.pending", lambda: client.xpending("x:s", "workers")["pending"], 1)
    settle("streams.xlen", lambda: client.xlen("x:s"), 5)
    settle("streams.xrange", lambda: client.xrange("x:s", "4-0", "+"), [(b"4-0", {b"n": b"3"}), (b"5-0", {b"n": b"4"})])
    emit("streams.read_rest", client.xreadgroup("workers", "w2", {"x:s": ">"}, block=10))
    emit("streams.group_exists", outcome(lambda: client.xgroup_create("x:s", "workers")))


def databases(client):
    second = connect(db=1)
    second.set("db:k", "in one")
    client.set("db:k", "in zero")
    settle("databases.one", lambda: second.get("db:k"), b"in one")
    settle("databases.zero", lambda: client.get("db:k"), b"in zero")
    settle("databases.size", second.dbsize, 1)
    emit("databases.flush", second.flushdb())
    settle("databases.one_empty", lambda: second.get("db:k"), None)
    settle("databases.zero_kept", lambda: client.get("db:k"), b"in zero")
    walker = connect(single_connection_client=True)
    emit("databases.select", walker.select(1))
    walker.set("db:w", "one")
    settle("databases.selected", lambda: walker.get("db:w"), b"one")
    emit("databases.back", walker.select(0))
    settle("databases.not_here", lambda: walker.get("db:w"), None)
    emit("databases.too_high", outcome(lambda: walker.select(99)))
    for other in (second, walker):
        other.close()


def binary(client):
    value = bytes(range(256)) + b"\r\n$5\r\nhello\r\n*1\r\n+OK\r\n-ERR x\r\n"
    client.set(b"bin:\r\n\x00\xff", value)
    settle("binary.get", lambda: client.get(b"bin:\r\n\x00\xff"), value)
    client.hset("bin:h", value, value)
    settle("binary.hget", lambda: client.hgetall("bin:h"), {value: value})
    emit("binary.echo", client.echo(value))


def large(client):
    value = bytes((i * 7 + i // 251) % 256 for i in range(1 << 20))
    client.set("big", value)
    settle("large.get", lambda: digest([client.get("big") or b""]), digest([value]))
    settle("large.getrange", lambda: client.getrange("big", 1_000_000, 1_000_007), value[1_000_000:1_000_008])
    client.rpush("big:list", *[value[:1000]] * 1000)
    settle("large.lrange", lambda: digest(client.lrange("big:list", 0, -1)), digest([value[:1000]] * 1000))
    emit("large.del", client.delete("big", "big:list"))


def errors(client):
    client.set("err:s", "text")
    emit("errors.wrong_type_write", outcome(lambda: client.lpush("err:s", "x")))
    settle("errors.wrong_type_read", lambda: client.hgetall("err:s"), redis.ResponseError(
        "WRONGTYPE Operation against a key holding the wrong kind of value"))
    emit("errors.not_integer", outcome(lambda: client.incr("err:s")))
    emit("errors.unknown", outcome(lambda: client.execute_command("NOSUCH", "a", "b\r\nc")))
    emit("errors.arity_get", outcome(lambda: client.execute_command("GET")))
    emit("errors.arity_set", outcome(lambda: client.execute_command("SET", "only")))
    emit("errors.syntax", outcome(lambda: client.execute_command("SET", "a", "b", "MAYBE")))
    emit("errors.exec", outcome(lambda: client.execute_command("EXEC")))
    emit("errors.subcommand", outcome(lambda: client.execute_command("OBJECT", "NOSUCH", "x")))
    emit("errors.then_ping", client.ping())


def pool(client):
    """Twenty threads over one client: its pool opens a connection for each that is busy at once."""

    def work(number):
        for i in range(20):
            client.incr("pool:n")
            client.hset(f"pool:{number}", f"f{i}", i)
        return client.hset(f"pool:{number}", "done", "yes")

    with ThreadPoolExecutor(20) as threads:
        emit("pool.done", sum(threads.map(work, range(20))))
    settle("pool.sum", lambda: client.get("pool:n"), b"400")
    settle("pool.fields", lambda: [client.hlen(f"pool:{n}") for n in range(20)], [21] * 20)


def lock(client):
    """redis-py's Lock is SET NX PX to take and a script to give back; owned() is a GET."""
    mine, theirs = client.lock("lock:a", timeout=30), client.lock("lock:a", timeout=30)
    emit("lock.acquire", mine.acquire(blocking=False))
    emit("lock.second", theirs.acquire(blocking=False))
    settle("lock.owned", mine.owned, True)
    emit("lock.extend", mine.extend(10))
    emit("lock.release", mine.release())
    emit("lock.not_owned", isinstance(failure(theirs), LockError))
    total = {"value": 0}

    def guarded(_):
        with client.lock("lock:b", timeout=30, sleep=0.002):
            seen = total["value"]
            client.incr("lock:n")
            total["value"] = seen + 1

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(guarded, range(24)))
    emit("lock.exclusive", total["value"])
    settle("lock.count", lambda: client.get("lock:n"), b"24")


def failure(lock_never_taken):
    """What releasing a lock that is not held raises."""
    try:
        return lock_never_taken.release()
    except LockError as error:
        return error


def close(client):
    short = connect()
    short.set("close:a", "1")
    short.close()
    settle("close.other_client", lambda: client.get("close:a"), b"1")
    settle("close.reconnects", lambda: short.get("close:a"), b"1")
    short.close()
    client.connection_pool.disconnect()
    emit("close.pool_reconnects", client.ping())


main()
parser = redis.connection.DefaultParser.__name__
finish(f"redis-py {redis.__version__} {parser}")
