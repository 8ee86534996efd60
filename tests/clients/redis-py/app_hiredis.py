"""An application on hiredis-py alone: its own socket, requests by pack_command, replies by hiredis.Reader.

Usage: app_hiredis.py HOST:PORT PROTOCOL. Knows nothing of an ambassador. Prints a transcript (see transcript.py).
"""

import random
import socket
import sys
import time

import hiredis

from transcript import digest, emit, finish, settle

HOST, _, PORT = sys.argv[1].rpartition(":")
PROTOCOL = int(sys.argv[2])
SECONDS = 10
NOTHING_YET = object()
# Where requests and replies are cut. The same cuts in every run, so that a failure comes again.
CUTS = random.Random(11)
BIG = bytes((i * 13 + i // 257) % 256 for i in range(4 << 20))


class Connection:
    """What an author of a client library writes first: a socket and a parser."""

    def __init__(self, protocol=PROTOCOL, largest_piece=None, **options):
        self.socket = socket.create_connection((HOST, int(PORT)), timeout=SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = hiredis.Reader(notEnoughData=NOTHING_YET, **options)
        self.largest_piece, self.pushes = largest_piece, []
        if protocol == 3:
            self.ask("HELLO", 3)

    def send(self, *commands):
        """All of them at once, or in pieces that know nothing of where a command ends."""
        data = b"".join(hiredis.pack_command(command) for command in commands)
        while self.largest_piece and len(data) > 1:
            size = CUTS.randint(1, self.largest_piece)
            self.socket.sendall(data[:size])
            data = data[size:]
        self.socket.sendall(data)

    def any(self):
        """The next reply or push."""
        while (value := self.reader.gets()) is NOTHING_YET:
            data = self.socket.recv(CUTS.randint(1, self.largest_piece) if self.largest_piece else 1 << 16)
            if not data:
                raise EOFError
            self.reader.feed(data)
        return value

    def reply(self):
        """The next reply; pushes before it are kept."""
        while isinstance(value := self.any(), hiredis.PushNotification):
            self.pushes.append(list(value))
        return value

    def ask(self, *command):
        """One command, one reply."""
        self.send(command)
        return self.reply()

    def ask_all(self, *commands):
        """A pipeline."""
        self.send(*commands)
        return [self.reply() for _ in commands]

    def close(self):
        """Without a word to the server."""
        self.socket.close()


def main():
    """Every step, one after the other, each on keys of its own."""
    connection = Connection()
    for step in (handshake, values, types, errors, nested, transactions, pipelines, cut_anywhere, big, inline, blocking, streams,
                 subscriptions, pushes if PROTOCOL == 3 else array_messages, text, endings):
        step(connection)
    connection.close()


def handshake(connection):
    hello = connection.ask("HELLO", PROTOCOL)
    pairs = hello if isinstance(hello, dict) else dict(zip(hello[::2], hello[1::2]))
    emit("handshake.hello", {key: value for key, value in pairs.items() if key != b"id"})
    emit("handshake.named", connection.ask_all(("CLIENT", "SETNAME", "orders"), ("CLIENT", "SETINFO", "LIB-NAME", "hiredis-py"),
                                               ("CLIENT", "GETNAME")))
    emit("handshake.refused", [connection.ask("HELLO", 4), connection.ask("HELLO", "x"), connection.ask("AUTH", "no", "no")])
    emit("handshake.ping", [connection.ask("PING"), connection.ask("PING", b"\x00\r\n")])


def values(connection):
    emit("values.set", connection.ask("SET", "v:a", b"\x00\xff\r\n+OK\r\n"))
    settle("values.get", lambda: connection.ask("GET", "v:a"), b"\x00\xff\r\n+OK\r\n")
    emit("values.empty", connection.ask("SET", "v:empty", b""))
    settle("values.get_empty", lambda: connection.ask("GET", "v:empty"), b"")
    settle("values.missing", lambda: connection.ask("MGET", "v:none", "v:empty"), [None, b""])
    emit("values.incr", connection.ask("INCRBY", "v:n", -(1 << 62)))
    settle("values.number", lambda: connection.ask("GET", "v:n"), str(-(1 << 62)).encode())
    emit("values.unlink", connection.ask("UNLINK", "v:a", "v:n", "v:none"))


def types(connection):
    """Everything that has a shape of its own in RESP3."""
    emit("types.written", connection.ask_all(("ZADD", "t:z", 1.5, "a", "-inf", "b", 1e300, "c"), ("SADD", "t:s", 1, 2, 3),
                                             ("HSET", "t:h", "f", "v", "g", ""), ("RPUSH", "t:l", "x", "y")))
    reads = ("ZRANGE", "t:z", 0, -1, "WITHSCORES"), ("ZSCORE", "t:z", "b"), ("ZMSCORE", "t:z", "c", "none"), ("HGETALL", "t:h")
    wanted = Connection()
    # In a transaction, so on the master: what the reads below have to become.
    _, *queued, expected = wanted.ask_all(("MULTI",), *reads, ("EXEC",))
    wanted.close()
    emit("types.queued", queued)
    settle("types.read", lambda: connection.ask_all(*reads), expected)
    settle("types.set", lambda: sorted(connection.ask("SMEMBERS", "t:s")), [b"1", b"2", b"3"])
    settle("types.empty", lambda: connection.ask_all(("HGETALL", "t:none"), ("SMEMBERS", "t:none"), ("LRANGE", "t:none", 0, -1)),
           [{} if PROTOCOL == 3 else [], set() if PROTOCOL == 3 else [], []])
    emit("types.null_array", connection.ask("BLPOP", "t:none", 0.01))
    script = ("redis.setresp(3); return {{double=2.5}, {map={k='v'}}, {set={a=true}}, {big_number='" + "9" * 30 + "'}, "
              "{verbatim_string={format='txt', string='said'}}, true, false, 7, {ok='FINE'}, {err='WRONG inside'}}")
    emit("types.every", connection.ask("EVAL", script, 0))
    info = connection.ask("INFO", "persistence")
    emit("types.verbatim", [type(info).__name__, b"loading:0" in (info if isinstance(info, bytes) else info.encode())])


def errors(connection):
    connection.ask("SET", "e:s", "text")
    commands = (("LPUSH", "e:s", "x"), ("INCR", "e:s"), ("NOSUCH", "a", "b\r\nc"), ("GET",), ("SET", "a", "b", "MAYBE"), ("EXEC",),
                ("OBJECT", "NOSUCH", "x"), ("EVALSHA", "f" * 40, 0), ("SELECT", "many"), ("XADD", "e:x", "0-0", "f", "v"),
                ("CONFIG", "SET", "nosuch", "1"), ("PING",))
    emit("errors.each", [connection.ask(*command) for command in commands])
    emit("errors.pipelined", connection.ask_all(*commands))


def nested(connection):
    deep = "local t = 'end' for i = 1, 6 do t = {i, t, {}} end return t"
    emit("nested.script", connection.ask("EVAL", deep, 0))
    emit("nested.geo", connection.ask("GEOADD", "n:g", 13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania"))
    settle("nested.places", lambda: len(connection.ask("GEOPOS", "n:g", "Palermo", "none", "Catania")[2] or ()), 2)
    emit("nested.command", [entry and entry[:3] for entry in connection.ask("COMMAND", "INFO", "get", "nosuch", "mset")])
    library = "#!lua name=orders\nredis.register_function{function_name='one', callback=function() return {1, {2}} end}"
    emit("nested.function", connection.ask_all(("FUNCTION", "LOAD", library), ("FUNCTION", "LIST"), ("FCALL", "one", 0),
                                               ("FUNCTION", "DELETE", "orders")))


def transactions(connection):
    emit("transactions.exec", connection.ask_all(("MULTI",), ("SET", "m:a", 1), ("LPUSH", "m:a", "x"), ("ZADD", "m:z", 1, "m"),
                                                 ("ZRANGE", "m:z", 0, -1, "WITHSCORES"), ("GET", "m:none"), ("EXEC",)))
    emit("transactions.aborted", connection.ask_all(("MULTI",), ("NOSUCH",), ("SET", "m:b", 1), ("EXEC",), ("EXISTS", "m:b")))
    other = Connection()
    emit("transactions.watch", [connection.ask("WATCH", "m:w"), other.ask("SET", "m:w", 1), connection.ask("MULTI"),
                                connection.ask("SET", "m:w", 2), connection.ask("EXEC")])
    emit("transactions.discard", connection.ask_all(("MULTI",), ("INCR", "m:w"), ("DISCARD",), ("INCR", "m:w")))
    other.close()


def mixed(prefix, count):
    """A pipeline that has some of everything; it holds writes, so all of it is answered by the master."""
    for number in range(count):
        key = f"{prefix}:{number % 50}"
        yield from (("SET", key, "x" * (number % 97)), ("GET", key), ("STRLEN", key), ("LPUSH", key, 1), ("ECHO", number),
                    ("RPUSH", f"{prefix}:list", number), ("LRANGE", f"{prefix}:list", -3, -1))


def pipelines(connection):
    emit("pipelines.mixed", digest(map(repr, connection.ask_all(*mixed("p", 500)))))
    reads = [("GET", f"p:{number}") for number in range(50)]
    settle("pipelines.reads", lambda: [len(value or b"") for value in connection.ask_all(*reads)],
           [number % 97 for number in range(450, 500)])


def cut_anywhere(connection):
    """Requests leave in pieces of a few bytes, and replies are fetched in such pieces."""
    for largest in (1, 3, 17, 250):
        cut = Connection(largest_piece=largest)
        emit(f"cut.pieces_of_{largest}", digest(map(repr, cut.ask_all(*mixed(f"cut:{largest}", 20)))))
        cut.close()


def big(connection):
    cut = Connection(largest_piece=1 << 16)
    emit("big.set", cut.ask_all(("SET", "big:a", BIG), ("SET", "big:b", "small"), ("APPEND", "big:b", BIG[:100_000])))
    for name, one in (("whole", connection), ("cut", cut)):
        settle(f"big.get_{name}", lambda: digest(one.ask("GET", "big:a") or b"" for _ in range(2)), digest([BIG, BIG]))
        settle(f"big.mget_{name}", lambda: digest(value or b"" for value in one.ask("MGET", "big:b", "big:a", "big:b")),
               digest([b"small" + BIG[:100_000], BIG, b"small" + BIG[:100_000]]))
    # Small, big, small, in one pipeline with a write in it: in order, and nothing of one in the other.
    between = (("INCR", "big:n"), ("GET", "big:a"), ("INCR", "big:n"), ("ECHO", BIG), ("PING",))
    emit("big.between", digest(map(repr, cut.ask_all(*between))))
    emit("big.many", cut.ask("RPUSH", "big:l", *([b"item"] * 50_000)))
    emit("big.many_back", digest(map(repr, cut.ask_all(("INCR", "big:n"), ("LRANGE", "big:l", 0, -1)))))
    emit("big.error", cut.ask("LPUSH", "big:a", BIG))
    emit("big.del", cut.ask("DEL", "big:a", "big:b", "big:l"))
    cut.close()


def inline(connection):
    connection.socket.sendall(b"PING\r\nSET i:a 'one two'\r\n\r\nSTRLEN i:a\nECHO \"\\x41\\r\"\r\n")
    emit("inline.replies", [connection.reply() for _ in range(4)])


def blocking(connection):
    other = Connection()
    connection.send(("BLPOP", "b:a", "b:b", 5), ("PING",))
    deadline = time.monotonic() + SECONDS
    while "blocked_clients:0" in str(other.ask("INFO", "clients")) and time.monotonic() < deadline:
        time.sleep(0.005)
    emit("blocking.push", other.ask("RPUSH", "b:b", "job"))
    emit("blocking.popped", [connection.reply(), connection.reply()])
    other.close()


def streams(connection):
    emit("streams.write", connection.ask_all(("XADD", "x:s", "1-0", "f", "v"), ("XADD", "x:s", "2-0", "f", "w", "g", ""),
                                             ("XGROUP", "CREATE", "x:s", "workers", 0)))
    emit("streams.read", connection.ask("XREADGROUP", "GROUP", "workers", "one", "STREAMS", "x:s", ">"))
    settle("streams.range", lambda: connection.ask("XRANGE", "x:s", "-", "+"),
           [[b"1-0", [b"f", b"v"]], [b"2-0", [b"f", b"w", b"g", b""]]])
    settle("streams.pending", lambda: connection.ask("XPENDING", "x:s", "workers"), [2, b"1-0", b"2-0", [[b"one", b"2"]]])
    emit("streams.nothing", connection.ask("XREAD", "BLOCK", 10, "STREAMS", "x:s", "$"))


def subscriptions(connection):
    subscriber = Connection()
    subscriber.send(("SUBSCRIBE", "news", "more"), ("PSUBSCRIBE", "ne*"), ("PING", "still here"))
    emit("subscriptions.confirmed", [subscriber.any() for _ in range(4)])
    emit("subscriptions.receivers", connection.ask_all(*(("PUBLISH", "news", f"item {number}") for number in range(50))))
    emit("subscriptions.messages", [subscriber.any() for _ in range(100)])
    emit("subscriptions.large", connection.ask("PUBLISH", "more", BIG))
    emit("subscriptions.large_message", digest(subscriber.any()))
    subscriber.send(("UNSUBSCRIBE",), ("PUNSUBSCRIBE",))
    left = [subscriber.any() for _ in range(3)]
    # In the order of the server's hash table.
    emit("subscriptions.left", sorted((part[1] for part in left), key=str) + [part[2] for part in left])
    emit("subscriptions.over", [subscriber.ask("SET", "sub:k", 1), connection.ask("PUBLISH", "news", "lost")])
    subscriber.close()


def array_messages(connection):
    """RESP2: a subscribed connection may do little else."""
    subscriber = Connection()
    emit("messages.refused", [subscriber.ask("SUBSCRIBE", "only"), subscriber.ask("GET", "k"), subscriber.ask("PING"),
                              subscriber.ask("RESET"), subscriber.ask("ECHO", "plain again")])
    subscriber.close()


def pushes(connection):
    """RESP3: messages and invalidations come between replies."""
    both = Connection()
    both.send(("SUBSCRIBE", "mine"), ("SET", "push:a", 1), ("PUBLISH", "mine", "to myself"), ("GET", "push:a"))
    emit("pushes.sequence", [[type(value).__name__, value] for value in (both.any() for _ in range(5))])
    emit("pushes.tracking", both.ask_all(("CLIENT", "TRACKING", "ON"), ("GET", "push:a"), ("GET", "push:b")))
    both.pushes.clear()
    emit("pushes.changed", connection.ask_all(("SET", "push:a", 2), ("SET", "push:b", 2), ("PUBLISH", "mine", "after")))
    emit("pushes.came", [list(both.any()) for _ in range(3)])
    emit("pushes.in_step", [both.ask("GET", "push:a"), both.ask("CLIENT", "TRACKING", "OFF"), both.ask("ECHO", "x"), both.pushes])
    both.close()


def text(connection):
    """The parser decodes, and wraps errors in a class of the application's."""
    class Refused(Exception):
        """The application's own."""

    decoding = Connection(encoding="utf-8", errors="strict", replyError=Refused)
    emit("text.written", decoding.ask("SET", "text:é", "größer ☃"))
    settle("text.read", lambda: decoding.ask("GET", "text:é"), "größer ☃")
    emit("text.error", repr(decoding.ask("INCR", "text:é")))
    decoding.close()


def endings(connection):
    reset = Connection()
    emit("endings.reset", reset.ask_all(("CLIENT", "SETNAME", "gone"), ("SELECT", 3), ("SET", "k", "three"), ("RESET",),
                                        ("CLIENT", "GETNAME"), ("EXISTS", "k")))
    emit("endings.quit", [reset.ask("QUIT"), ended(reset)])
    wrong = Connection(protocol=2)
    wrong.socket.sendall(b"*1\r\n$4\r\nPING\r\n*1\r\n+PING\r\n*1\r\n$4\r\nPING\r\n")
    emit("endings.not_the_protocol", [wrong.reply(), wrong.reply(), ended(wrong)])


def ended(connection):
    """Whether the server closed, and what it said before."""
    try:
        return connection.any()
    except (EOFError, ConnectionResetError):
        return "closed"


main()
finish(f"hiredis-py {hiredis.__version__}")
