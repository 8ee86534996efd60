"""What the servers themselves counted: reads ran on the replicas, writes on the master, nothing anywhere else."""

import subprocess

COUNT = 400
WRITES, READS = ("set", "hset", "zadd"), ("get", "hget", "zrange")
# With two replicas each should run half of the reads; less than a fifth is no spreading.
LEAST_SHARE = 0.2
# What keeps a group and its observers going; says nothing of where an application's commands run.
UPKEEP = {"ping", "info", "time", "role", "hello", "client", "config", "command", "replconf", "psync", "select", "auth", "script",
          "function", "module", "acl", "flushall", "quit"}
# Commands of the applications that no replica may ever run: none of them is replicated under its own name, or they are
# reads of what is not replicated.
ONLY_ON_MASTER = ("watch", "subscribe", "psubscribe", "blpop", "blmove", "eval", "evalsha", "xreadgroup", "getdel",
                  "incrbyfloat", "xautoclaim", "xpending", "xinfo|groups")
# Commands of the applications that the replicas must have run, each of them somewhere.
ON_REPLICAS = ("get", "mget", "strlen", "exists", "hgetall", "hmget", "lrange", "llen", "smembers", "zrange", "zscore",
               "ttl", "xlen", "scan")


def exact(group, address, command):
    """Counts of the small workload, which must be right to the last command; returns the problems."""
    group.reset_counters()
    problems = workload([*command, address, "write", str(COUNT)])
    group.settle()
    problems += workload([*command, address, "read", str(COUNT)])
    master, replicas = group.master.calls(), [replica.calls() for replica in group.replicas]
    for name in WRITES:
        problems += differs(f"{name} on the master", master.get(name, 0), COUNT)
        for number, replica in enumerate(replicas, 1):
            # By replication and not by the application: as many as on the master, and none refused (below).
            problems += differs(f"{name} on replica {number}, replicated", replica.get(name, 0), COUNT)
    for name in READS:
        problems += differs(f"{name} on the master", master.get(name, 0), 0)
        shares = [replica.get(name, 0) for replica in replicas]
        problems += differs(f"{name} on the replicas together", sum(shares), COUNT)
        problems += [f"{name}: replica {number} ran {share} of {COUNT}, fewer than a fifth"
                     for number, share in enumerate(shares, 1) if share < LEAST_SHARE * COUNT]
    for node, calls in zip(group.nodes, (master, *replicas)):
        others = {name: n for name, n in calls.items() if name.split("|")[0] not in UPKEEP | set(WRITES) | set(READS)}
        problems += [f"{node.name} ran what nobody asked for: {others}"] if others else []
    summary = ", ".join(f"{name} {master.get(name, 0)}/" + "/".join(str(r.get(name, 0)) for r in replicas) for name in WRITES + READS)
    return problems + refused(group), f"master/replica/replica: {summary}"


def over_all(group):
    """Counts of everything that the applications did since the reset; returns the problems and a summary."""
    group.settle()
    replicas = [replica.calls() for replica in group.replicas]
    problems = [f"{name} never ran on a replica" for name in ON_REPLICAS if not any(name in calls for calls in replicas)]
    for node, calls in zip(group.replicas, replicas):
        problems += [f"{node.name} ran {name} {calls[name]} times" for name in ONLY_ON_MASTER if calls.get(name)]
    shares = [sum(node.calls().get(name, 0) for name in ON_REPLICAS) for node in group.nodes]
    problems += [f"{node.name} ran none of the reads" for node, share in zip(group.replicas, shares[1:]) if share == 0]
    return problems + refused(group), "reads master/replica/replica: " + "/".join(map(str, shares))


def refused(group):
    """A replica that had to refuse a write was sent one."""
    return [f"{node.name} refused writes: READONLY {stats['errorstat_READONLY']}"
            for node in group.replicas if "errorstat_READONLY" in (stats := node.info("errorstats"))]


def differs(what, seen, wanted):
    """One problem, or none."""
    return [] if seen == wanted else [f"{what}: {seen}, wanted {wanted}"]


def workload(command):
    """Runs one half of the small workload."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return [f"{command[-2]} workload hung for 60 s"]
    return [f"{command[-2]} workload: {done.stderr.strip()[-1000:]}"] if done.returncode else []
