"""Replication that is late: what a master sends its replica passes through here and is held for a while."""

import queue
import socket
import threading
import time

CHUNK = 1 << 16


class Lag:
    """A port that leads to the master. Replicas that replicate from it are behind by `seconds`, from when that is set."""

    def __init__(self, master):
        self.seconds, self.master, self.sockets = 0.0, master, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start(self.accept)

    @staticmethod
    def start(target, *arguments):
        """A thread that does not keep the program from ending."""
        threading.Thread(target=target, args=arguments, daemon=True).start()

    def accept(self):
        """One pair of connections for each replica."""
        while True:
            try:
                replica, _ = self.listener.accept()
                master = socket.create_connection(("127.0.0.1", self.master.port))
            except OSError:
                return
            self.sockets += [replica, master]
            held = queue.Queue()
            self.start(self.pass_on, replica, lambda data, to=master: to.sendall(data))
            self.start(self.pass_on, master, lambda data, to=held: to.put((time.monotonic() + self.seconds, data)))
            self.start(self.deliver, held, replica)

    @staticmethod
    def pass_on(source, give):
        """Everything that comes, and at its end nothing."""
        try:
            while data := source.recv(CHUNK):
                give(data)
            give(b"")
        except OSError:
            pass

    @staticmethod
    def deliver(held, replica):
        """Each piece when its time has come."""
        while True:
            due, data = held.get()
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                if not data:
                    return replica.shutdown(socket.SHUT_WR)
                replica.sendall(data)
            except OSError:
                return

    def stop(self):
        """Both sides see their connections end."""
        for each in (self.listener, *self.sockets):
            each.close()
