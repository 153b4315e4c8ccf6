"""A TCP proxy that does to connections what networks do."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum, auto

from semblance.serving.ports import LOOPBACK

CHUNK = 1 << 16
# Seconds that a delayed chunk waits, and bytes that come of a chunk which is truncated.
DELAY, KEPT = 3.0, 20
# Closing with this sends RST: SO_LINGER on, for 0 seconds.
RESET = struct.pack("ii", 1, 0)


class Fault(Enum):
    """`DELAY`: everything comes late. `RESET`: connections are reset, new ones too. `TRUNCATE`: they end amid what is
    sent. `BLACKHOLE`: nothing comes through, and nobody is told; it does when the fault is over, as TCP sends it again.
    """

    DELAY = auto()
    RESET = auto()
    TRUNCATE = auto()
    BLACKHOLE = auto()


class Proxy:
    """Forwards what comes to `port` to another port of this host."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._fault: Fault | None = None
        self._changed = threading.Condition()
        self._connections: set[socket.socket] = set()
        self._listening = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()
        self._set(None)
        for connection in tuple(self._connections):
            _end(connection)

    @contextmanager
    def failing(self, fault: Fault) -> Iterator[None]:
        """On the connections that there are, and on new ones."""
        self._set(fault)
        if fault is Fault.RESET:
            for connection in tuple(self._connections):
                _reset(connection)
        try:
            yield
        finally:
            self._set(None)

    def _set(self, fault: Fault | None) -> None:
        with self._changed:
            self._fault = fault
            self._changed.notify_all()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listening.accept()
                if self._fault is Fault.RESET:
                    _reset(caller)
                    continue
                try:
                    callee = socket.create_connection((LOOPBACK, self._to))
                except OSError:
                    _reset(caller)
                    continue
                for source, sink in ((caller, callee), (callee, caller)):
                    self._connections.add(source)
                    threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK):
                fault = self._wait()
                if fault is Fault.TRUNCATE:
                    sink.sendall(data[:KEPT])
                    break
                sink.sendall(data)
        _end(source)
        _end(sink)
        self._connections.discard(source)

    def _wait(self) -> Fault | None:
        """Until something may be forwarded; the fault that it is subject to."""
        with self._changed:
            if self._fault is Fault.DELAY:
                self._changed.wait_for(lambda: self._fault is not Fault.DELAY, DELAY)
            self._changed.wait_for(lambda: self._fault is not Fault.BLACKHOLE)
            return self._fault


def _reset(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
