"""The port that Prometheus scrapes."""

from collections.abc import Callable, Iterable
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from semblance.orchestrator.address import AddressInUse, split


class Families(Collector):
    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        return self._collect()


class Listener:
    """Answers `GET /metrics` from a thread of its own, so that a scrape holds up no request."""

    def __init__(self, listen: str, worker: int, collect: Callable[[], Iterable[Metric]]) -> None:
        """Each of several workers counts for itself, and listens on a port of its own: so many beyond the first's."""
        host, port = split(listen)
        self._host, self._port = host, port + worker
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(Families(collect))
        self._serving: tuple[WSGIServer, Thread] | None = None

    def start(self) -> None:
        """Raises AddressInUse."""
        try:
            self._serving = start_http_server(self._port, self._host, self._registry)
        except OSError:
            raise AddressInUse(f"{self._host}:{self._port}") from None

    def stop(self) -> None:
        if self._serving is not None:
            server, thread = self._serving
            server.shutdown()
            server.server_close()
            thread.join()
