"""TCP ports of this host: free ones, and who holds the others."""

import errno
import re
import socket
from contextlib import ExitStack
from dataclasses import dataclass

import psutil

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Holder:
    """Who listens on a port; pid and name are None where the process belongs to somebody else."""

    port: int
    pid: int | None
    name: str | None

    def __str__(self) -> str:
        if self.pid is None:
            return f"port {self.port} is taken by a process of another user"
        return f"port {self.port} is taken by {self.name} (pid {self.pid})"


def free(count: int) -> list[int]:
    """Different ports that nobody listens on, all of them held open until the last is chosen."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((LOOPBACK, 0))
        return [one.getsockname()[1] for one in sockets]


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether nobody listens on a port at any of a host's addresses.

    Raises:
        OSError: this process can't listen at any of them, whoever does.
    """
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    problems = []
    for family, kind, protocol, _, address in addresses:
        try:
            with socket.socket(family, kind, protocol) as probe:
                # As servers do: connections of an earlier server that linger in TIME_WAIT don't count.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            problems.append(error)
    # A server listens at those that it can: `localhost` may be ::1 too on a host without IPv6.
    if len(problems) == len(addresses):
        raise problems[0]
    return True


def obstacle(port: int, host: str = LOOPBACK) -> str | None:
    """What keeps a server from listening on a port, or None."""
    try:
        return None if is_free(port, host) else str(holder(port))
    except OSError as error:
        return f"can't listen on {host}, port {port}: {error.strerror}"


def holder(port: int) -> Holder:
    """Who listens on a port that is not free."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
            try:
                return Holder(port, connection.pid, psutil.Process(connection.pid).name())
            except psutil.NoSuchProcess:
                break
    return Holder(port, None, None)


def split(address: str) -> tuple[str, int]:
    """Host and port of "host:port" or "[IPv6]:port".

    Raises:
        ValueError: not of that form.
    """
    found = re.fullmatch(r"(?:\[(?P<ipv6>[^][]+)\]|(?P<host>[^][:]+)):(?P<port>\d+)", address, re.ASCII)
    if not found or not 0 < int(found["port"]) < 65536:
        raise ValueError(f"{address!r} is not an address; expected host:port, such as {LOOPBACK}:50051 or [::1]:50051")
    return found["ipv6"] or found["host"], int(found["port"])
