"""Several workers on one port: what one of them suffers the others make good, and an end in order loses nothing."""

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import psutil
import pytest

from semblance.client import Client, NewItem
from semblance.orchestrator.adapters import shared_memory
from semblance.serving import orchestrator, ports
from semblance.serving.triton import Triton
from semblance.v1.search_pb2 import SearchRequest
from semblance.v1.search_pb2_grpc import SearchServiceStub
from tests.scrape import Scrape
from tests.stack import World

pytestmark = pytest.mark.standalone

WORKERS = 2
PATIENCE = 60


@pytest.fixture(scope="module")
def metrics() -> list[str]:
    """Where each worker tells its metrics."""
    first = next(port for port in ports.free(100) if ports.is_free(port + 1))
    return [f"127.0.0.1:{first + number}" for number in range(WORKERS)]


@pytest.fixture(scope="module")
def server(
    inference: Triton,
    repository: Path,
    milvus_standalone: str,
    metrics: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[orchestrator.Orchestrator]:
    folder = tmp_path_factory.mktemp("workers")
    settings = {"SEMBLANCE_WORKERS": str(WORKERS), "SEMBLANCE_METRICS_LISTEN": metrics[0]}
    with orchestrator.running(
        folder, repository=repository, triton=inference.grpc, milvus=milvus_standalone, settings=settings
    ) as server:
        until(lambda: listening(server) == WORKERS)
        yield server


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


def workers(server: orchestrator.Orchestrator) -> list[psutil.Process]:
    return psutil.Process(server.pid).children()


def listening(server: orchestrator.Orchestrator) -> int:
    """Workers that are ready, each of which listens."""
    port = int(server.address.rpartition(":")[2])
    return sum(
        any(
            connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            for connection in worker.net_connections("tcp")
        )
        for worker in workers(server)
    )


def messages(server: orchestrator.Orchestrator) -> list[str]:
    return [json.loads(line)["message"] for line in server.log.read_text().splitlines() if line.startswith("{")]


def test_each_client_has_a_connection_of_its_own(server: orchestrator.Orchestrator) -> None:
    port = int(server.address.rpartition(":")[2])

    def connections() -> int:
        mine = psutil.Process().net_connections("tcp")
        return sum(
            each.status == psutil.CONN_ESTABLISHED and bool(each.raddr) and each.raddr.port == port for each in mine
        )

    before = connections()
    with Client(server.address) as first, Client(server.address) as second:
        assert first.count() == second.count()
        assert connections() == before + 2


def test_a_killed_worker_is_replaced_and_the_others_serve_on(server: orchestrator.Orchestrator, world: World) -> None:
    photo = next(iter(world.photos.values()))
    first, *_ = workers(server)
    first.kill()
    with Client(server.address) as client:
        assert client.search(photo).objects
    until(lambda: first not in workers(server) and listening(server) == WORKERS)
    assert any("was killed by SIGKILL; starting another" in message for message in messages(server))
    assert not list(shared_memory.FOLDER.glob(f"{shared_memory.PREFIX}{first.pid}-*"))


def test_each_worker_counts_for_itself_and_no_count_is_lost(
    server: orchestrator.Orchestrator, world: World, metrics: list[str]
) -> None:
    def searches() -> list[float]:
        method = "semblance.v1.SearchService/Search"
        counts = (
            Scrape.of(listen)("semblance_requests_total", method=method, status="OK", release="r1", caller="anybody")
            for listen in metrics
        )
        return [count or 0.0 for count in counts]

    before = searches()
    for _ in range(16):
        with Client(server.address) as client:
            client.search(next(iter(world.photos.values())))
    after = searches()
    assert sum(after) == sum(before) + 16
    # The kernel spreads the connections.
    assert all(late > early for early, late in zip(before, after, strict=True))
    # The one that was killed may have been the keeper.
    until(lambda: {Scrape.of(listen)("semblance_keeper") for listen in metrics} == {0.0, 1.0})
    ways = {way for listen in metrics for _, way in Scrape.of(listen).series("semblance_transport_inputs_total")}
    assert "shared_memory" in ways


def test_what_one_worker_stores_the_other_one_finds(server: orchestrator.Orchestrator, world: World) -> None:
    item_id, photo = next(iter(world.photos.items()))
    with Client(server.address) as client:
        client.put_item(NewItem(item_id, [photo]))
    for _ in range(8):
        with Client(server.address) as client:
            assert client.search(photo, top_k=1).objects[0].hits[0].item_id == item_id


def test_an_end_in_order_answers_what_was_begun(server: orchestrator.Orchestrator, world: World) -> None:
    """The last test: the service has ended then."""
    load = Load(server.address, next(iter(world.photos.values())).read_bytes())
    load.start()
    until(lambda: load.answered > 20)
    in_flight = load.begun - load.answered
    os.kill(server.pid, signal.SIGTERM)
    assert server.process.guard.wait(PATIENCE) == 0
    load.stop()
    assert in_flight > 0
    # A call that had not reached the service is refused by the connection; one that had is answered.
    assert len(load.refusals) == 8
    assert all(re.match("UNAVAILABLE: .*(GOAWAY|connect)", refusal) for refusal in load.refusals), load.refusals


class Load:
    """Eight connections, each with a search in flight until one is refused."""

    def __init__(self, address: str, image: bytes) -> None:
        self._address = address
        self._request = SearchRequest(image=image)
        self._threads = [threading.Thread(target=self._call) for _ in range(8)]
        self._lock = threading.Lock()
        self.begun = self.answered = 0
        # What the refused ones were told.
        self.refusals: list[str] = []

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE)

    def _call(self) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        with grpc.insecure_channel(self._address, options=options) as channel:
            search = SearchServiceStub(channel).Search
            try:
                while True:
                    with self._lock:
                        self.begun += 1
                    search(self._request, timeout=PATIENCE)
                    with self._lock:
                        self.answered += 1
            except grpc.RpcError as error:
                self.refusals.append(f"{error.code().name}: {error.details()}")
