"""A workload whose commands can be counted exactly: each in a round trip of its own, nothing repeated.

Usage: counters.py HOST:PORT write|read COUNT. The harness lets the replicas catch up in between, so a read that does
not give what was written is a wrong answer and not a late one.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import redis

HOST, _, PORT = sys.argv[1].rpartition(":")
THREADS = 4


def write(client, number):
    """Three kinds of write."""
    client.set(f"count:s:{number}", number)
    client.hset(f"count:h:{number}", "field", number)
    client.zadd(f"count:z:{number}", {f"member {number}": number})


def read(client, number):
    """What reads what the three wrote; a wrong value ends the application."""
    text = str(number).encode()
    seen = (client.get(f"count:s:{number}"), client.hget(f"count:h:{number}", "field"),
            client.zrange(f"count:z:{number}", 0, -1))
    wanted = (text, text, [b"member " + text])
    if seen != wanted:
        raise SystemExit(f"read {seen}, wanted {wanted}")


def main():
    """Four threads, each with a connection of the client's pool, share the numbers."""
    work = {"write": write, "read": read}[sys.argv[2]]
    client = redis.Redis(host=HOST, port=int(PORT))
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(lambda number: work(client, number), range(int(sys.argv[3]))))
    client.close()


main()
