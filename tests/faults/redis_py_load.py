"""The load of load.rs by redis-py with its own Sentinel client, as its documentation shows it, all else by default.

    redis_py_load.py WRITERS READERS TRANSACTORS PAUSE_SECONDS SENTINEL_PORT...

Prints how many numbers the writers have used, now and then, and what the clients saw when stdin ends.
"""

import json
import random
import sys
import threading
import time

import redis
from redis.sentinel import Sentinel

# As in writer.rs and reader.rs.
SHARED, REGISTERS, PIPELINE = 4, 49, 8
STALL, EXAMPLES = 0.02, 5

stop = threading.Event()


def fate_of(error):
    if error is None:
        return "acknowledged"
    if isinstance(error, redis.sentinel.MasterNotFoundError):
        return "unsent"
    # Lost or timed out: nobody knows. Anything else is an answer.
    if isinstance(error, (redis.ConnectionError, redis.TimeoutError)) and not isinstance(error, redis.ReadOnlyError):
        return "cut"
    return "failed"


def tally():
    return dict.fromkeys(["acknowledged", "in_doubt", "refused", "failed", "cut", "unsent"], 0)


class Client:
    """What one client saw."""

    def __init__(self, pause):
        self.pause = pause
        self.seen = {"all": tally(), "examples": [], "stalls": []}
        self.trying = None

    def next_turn(self):
        time.sleep(self.pause * random.uniform(0.5, 1.5))
        return not stop.is_set()

    def note(self, error, sent):
        fate = fate_of(error)
        self.seen["all"][fate] += 1
        self.trying = self.trying or sent
        if error is None:
            lasted = time.monotonic() - self.trying
            if lasted >= STALL:
                self.seen["stalls"].append([self.trying, lasted])
            self.trying = None
        elif len(self.seen["examples"]) < EXAMPLES:
            self.seen["examples"].append(f"{type(error).__name__}: {error}")
        return fate


def ask(redis_client, commands):
    """The replies to commands sent one by one or as a pipeline, each a value or an error."""
    try:
        if len(commands) == 1:
            return [redis_client.execute_command(*commands[0])]
        pipeline = redis_client.pipeline(transaction=False)
        for words in commands:
            pipeline.execute_command(*words)
        return pipeline.execute(raise_on_error=False)
    except redis.RedisError as error:
        return [error] * len(commands)


def error_in(reply):
    return reply if isinstance(reply, Exception) else None


class Writer(Client):
    def __init__(self, index, master, pause):
        super().__init__(pause)
        self.index, self.master, self.number = index, master, 0
        registers = [{"acknowledged": 0, "unknown": []} for _ in range(REGISTERS)]
        self.seen |= {"own": tally(), "shared": [tally() for _ in range(SHARED)]}
        self.seen |= {"appended": [], "registers": registers, "wrong": []}

    def words(self, number):
        kind = number % 4
        if kind == 0:
            return ["INCR", f"own:{self.index}"]
        if kind == 1:
            return ["INCR", f"shared:{number // 4 % SHARED}"]
        if kind == 2:
            return ["RPUSH", f"list:{self.index}", number]
        return ["SET", f"register:{self.index}:{number % REGISTERS}", number]

    def run(self):
        batch = PIPELINE if self.index % 4 == 3 else 1
        while self.next_turn():
            numbers = range(self.number + 1, self.number + batch + 1)
            self.number += batch
            sent = time.monotonic()
            for number, reply in zip(numbers, ask(self.master, [self.words(number) for number in numbers])):
                self.take(number, self.note(error_in(reply), sent))

    def take(self, number, fate):
        kind = number % 4
        if kind == 0:
            self.seen["own"][fate] += 1
        elif kind == 1:
            self.seen["shared"][number // 4 % SHARED][fate] += 1
        elif kind == 2:
            self.seen["appended"].append([number, fate, time.monotonic()])
        else:
            register = self.seen["registers"][number % REGISTERS]
            if fate == "acknowledged":
                register["acknowledged"], register["unknown"] = number, []
            elif fate == "cut":
                register["unknown"].append(number)


class Reader(Client):
    def __init__(self, index, replica, writers, pause):
        super().__init__(pause)
        self.index, self.replica, self.writers = index, replica, writers
        self.seen |= {"wrong": []}

    def words(self):
        writer = random.randrange(self.writers)
        return random.choice(
            [
                ["GET", f"own:{writer}"],
                ["LLEN", f"list:{writer}"],
                ["LRANGE", f"list:{writer}", -1, -1],
                ["GET", f"register:{writer}:{random.randrange(REGISTERS)}"],
            ]
        )

    def run(self):
        batch = PIPELINE if self.index % 4 == 3 else 1
        while self.next_turn():
            sent = time.monotonic()
            for reply in ask(self.replica, [self.words() for _ in range(batch)]):
                self.note(error_in(reply), sent)


class Transactor(Client):
    def __init__(self, index, master, pause):
        super().__init__(pause)
        self.index, self.master = index, master
        self.seen |= {"acknowledged": [], "unknown": []}

    def run(self):
        number = 0
        while self.next_turn():
            number += 1
            sent, error = time.monotonic(), None
            try:
                pipeline = self.master.pipeline(transaction=True)
                pipeline.incr(f"transaction:{self.index}:count")
                pipeline.rpush(f"transaction:{self.index}:list", number)
                pipeline.execute()
            except redis.RedisError as failure:
                error = failure
            fate = self.note(error, sent)
            if fate == "acknowledged":
                self.seen["acknowledged"].append(number)
            elif fate == "cut":
                self.seen["unknown"].append(number)


def ago(seen, now):
    seen["stalls"] = [[now - since, lasted] for since, lasted in seen["stalls"]]
    if "appended" in seen:
        seen["appended"] = [[number, fate, now - answered] for number, fate, answered in seen["appended"]]
    return seen


def main():
    writers, readers, transactors, pause = *map(int, sys.argv[1:4]), float(sys.argv[4])
    sentinel = Sentinel([("127.0.0.1", int(port)) for port in sys.argv[5:]])
    master, replica = sentinel.master_for("mymaster"), sentinel.slave_for("mymaster")
    clients = {
        "writers": [Writer(index, master, pause) for index in range(writers)],
        "readers": [Reader(index, replica, writers, pause) for index in range(readers)],
        "transactors": [Transactor(index, master, pause) for index in range(transactors)],
    }
    threads = [threading.Thread(target=client.run) for kind in clients.values() for client in kind]
    for thread in threads:
        thread.start()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    while not stop.wait(0.1):
        print(sum(writer.number for writer in clients["writers"]), flush=True)
    for thread in threads:
        thread.join()
    now = time.monotonic()
    print(json.dumps({kind: [ago(client.seen, now) for client in those] for kind, those in clients.items()}))


main()
