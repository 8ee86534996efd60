"""Real servers on free ports in a private directory, ended by their process and by nothing else."""

import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

from .lag import Lag

START_SECONDS = 20


class Failure(Exception):
    """Something that the harness needs did not happen; the text is for the person who reads the run."""


class Process:
    """A child in its own directory, with its output in a file that a failure can show."""

    def __init__(self, name, command, directory, environment=None):
        self.name, self.log = name, directory / "log"
        directory.mkdir(parents=True)
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen(command, cwd=directory, env={**os.environ, **(environment or {})},
                                          stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait_until(self, ready, what):
        """Polls until ready() is true; the child's end or the deadline is a failure that shows its output."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.child.poll() is not None:
                raise Failure(f"{self.name} ended with status {self.child.returncode} before it was {what}\n{self.tail()}")
            try:
                if ready():
                    return
            except (OSError, Failure):
                pass
            time.sleep(0.02)
        raise Failure(f"{self.name} was not {what} within {START_SECONDS} s\n{self.tail()}")

    def tail(self):
        """The last lines of its output."""
        return "\n".join("    " + line for line in self.log.read_text(errors="replace").splitlines()[-20:])

    def stop(self, seconds=10):
        """SIGTERM, then SIGKILL after the time; returns the exit status, or None if it had to be killed."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
                return None
        return self.child.returncode


class Node(Process):
    """One Redis or Valkey server."""

    def __init__(self, name, binary, directory, master=None):
        self.port = free_port()
        command = [str(binary), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                   "--repl-diskless-sync-delay", "0", "--dir", str(directory)]
        if master is not None:
            command += ["--replicaof", "127.0.0.1", str(master.port)]
        super().__init__(name, command, directory)
        self.wait_until(lambda: self.ask("PING") == "PONG", "answering")

    @property
    def address(self):
        """HOST:PORT as the applications and the ambassador want it."""
        return f"127.0.0.1:{self.port}"

    def ask(self, *words):
        """One command on a connection of its own."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            request = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in words)
            connection.sendall(request)
            with connection.makefile("rb") as stream:
                return reply(stream)

    def info(self, section):
        """INFO SECTION as a dictionary."""
        lines = self.ask("INFO", section).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def calls(self):
        """How often each command ran here since the last reset, by lower-case name."""
        stats = self.info("commandstats")
        return {name.removeprefix("cmdstat_"): int(dict(field.split("=") for field in value.split(","))["calls"])
                for name, value in stats.items()}

    def clear(self):
        """Nothing left of the application before: no data, no scripts."""
        self.ask("FLUSHALL")
        self.ask("SCRIPT", "FLUSH")


class Group:
    """One master and two replicas in sync; with `lag`, in seconds, as far behind as that from then on."""

    def __init__(self, label, binary, directory, lag=0.0):
        self.nodes, self.lag = [], None
        try:
            self.master = self.add(Node(f"{label} master", binary, directory / "master"))
            self.lag = Lag(self.master) if lag else None
            source = self.lag or self.master
            self.replicas = [self.add(Node(f"{label} replica {i}", binary, directory / f"replica-{i}", source))
                             for i in (1, 2)]
            for replica in self.replicas:
                replica.wait_until(lambda r=replica: r.info("replication")["master_link_status"] == "up", "in sync")
            if self.lag:
                self.lag.seconds = lag
        except BaseException:
            self.stop()
            raise

    def add(self, node):
        """Remembers the node so that it is ended with the group."""
        self.nodes.append(node)
        return node

    def clear(self):
        """Empties the master, and the scripts of all; returns when the replicas are empty too."""
        for node in self.nodes:
            node.ask("SCRIPT", "FLUSH")
        self.master.ask("FLUSHALL")
        self.settle()

    def settle(self):
        """Waits until the replicas have applied everything that the master has written."""
        offset = int(self.master.info("replication")["master_repl_offset"])
        for replica in self.replicas:
            replica.wait_until(lambda r=replica: int(r.info("replication")["slave_repl_offset"]) >= offset, "caught up")

    def reset_counters(self):
        """Starts INFO commandstats and errorstats at zero on every node."""
        for node in self.nodes:
            node.ask("CONFIG", "RESETSTAT")

    def stop(self):
        """Ends every node that was started."""
        if self.lag:
            self.lag.stop()
        for node in self.nodes:
            node.stop()


class Ambassador(Process):
    """The program under test in front of a group."""

    def __init__(self, binary, group, directory, policy="replicas-first"):
        port, self.admin = free_port(), free_port()
        self.address = f"127.0.0.1:{port}"
        command = [str(binary), "--listen", self.address, "--admin", f"127.0.0.1:{self.admin}", "--master",
                   group.master.address]
        for replica in group.replicas:
            command += ["--replica", replica.address]
        super().__init__("ambassador", command, directory, {"REDIS_AMBASSADOR_READS_POLICY": policy})
        try:
            self.wait_until(self.ready, "ready")
        except BaseException:
            self.stop()
            raise

    def ready(self):
        """Whether its own readiness probe says so."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/ready", timeout=2) as answer:
                return answer.status == 200
        except urllib.error.HTTPError:
            return False


def reply(stream):
    """One RESP2 reply: text, number, None or a list. An error reply is a Failure."""
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise Failure("the connection closed inside a reply")
    kind, rest = line[:1], line[1:-2].decode()
    if kind == b"-":
        raise Failure(rest)
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return None if rest == "-1" else stream.read(int(rest) + 2)[:-2].decode()
    if kind == b"*":
        return [reply(stream) for _ in range(int(rest))]
    return rest


def free_port():
    """A port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def flavors(root, cache, wanted):
    """The servers to test with as {name: binary}: those that scripts/install-servers makes available."""
    subprocess.run([str(root / "scripts" / "install-servers")], check=True, env={**os.environ, "AMBASSADOR_CACHE": str(cache)},
                   stdout=subprocess.DEVNULL)
    found = {path.name: path / "bin" / "server" for path in sorted(pathlib.Path(cache / "servers").iterdir())
             if (path / "bin" / "server").exists()}
    missing = [name for name in wanted if name not in found]
    if missing or not found:
        raise Failure(f"no server named {', '.join(missing) or '*'}; there are: {', '.join(found) or 'none'}")
    return {name: found[name] for name in wanted} if wanted else found
