"""Triton and Milvus hang, die and come back while the orchestrator runs on."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Protocol

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from semblance.benchmarks import null_models, statistics
from semblance.client import Client, DeadlineExceededError, NewItem, UnavailableError
from semblance.orchestrator.dependency import FAILURES, PROBE_SECONDS, PROBE_TIMEOUT
from semblance.serving import milvus, orchestrator, ports, triton
from semblance.v1 import search_pb2, search_pb2_grpc
from tests.integration.service.world import RED_PHOTO

# Seconds within which anything that a test waits for happens.
PATIENCE = 60.0
# What a call is given, and what the answer may take beyond that on a busy host, in seconds.
DEADLINE, MARGIN = 2.0, 2.0
SEARCHES = ("", "semblance.v1.SearchService", "inference.GRPCInferenceService")

pytestmark = pytest.mark.timeout(600)


class Running(Protocol):
    @property
    def pid(self) -> int: ...


class Part:
    """A server that can be stopped, hung and started again on the same ports."""

    def __init__(self, start: Callable[[], AbstractContextManager[Running]]) -> None:
        self._start = start
        self._stack = ExitStack()
        self.start()

    def start(self) -> None:
        self._pid = self._stack.enter_context(self._start()).pid

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        self._stack.close()

    def hang(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._pid, signal.SIGCONT)

    def close(self) -> None:
        self._stack.close()


@dataclass
class Stack:
    """One orchestrator on two Tritons with null models and a Milvus Lite."""

    tritons: list[Part]
    triton_ports: list[triton.Ports]
    milvus: Part
    server: orchestrator.Orchestrator
    client: Client
    health: health_pb2_grpc.HealthStub

    def serving(self, *services: str) -> set[bool]:
        answers = [self.health.Check(health_pb2.HealthCheckRequest(service=name), timeout=5.0) for name in services]
        return {answer.status == health_pb2.HealthCheckResponse.SERVING for answer in answers}

    def becomes(self, serving: bool) -> None:
        until(lambda: self.serving(*SEARCHES, "semblance.v1.CatalogService") == {serving})
        assert self.serving("liveness") == {True}

    def fails(self, *errors: type[Exception]) -> float:
        """Seconds until a search has failed with one of these."""
        begin = time.monotonic()
        with pytest.raises(errors), Client(self.server.address, timeout=DEADLINE) as hasty:
            hasty.search(RED_PHOTO)
        return time.monotonic() - begin


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("faults")
    repository = folder / "models"
    null_models.publish(repository)
    triton_ports = [triton.Ports.free() for _ in range(2)]
    [milvus_port] = ports.free(1)

    def start_triton(number: int) -> Callable[[], AbstractContextManager[Running]]:
        return lambda: triton.running(repository, folder / f"triton-{number}", ports=triton_ports[number])

    def start_milvus() -> AbstractContextManager[Running]:
        return milvus.lite(folder / "milvus", port=milvus_port)

    with ExitStack() as parts:
        tritons = [Part(start_triton(number)) for number in range(2)]
        index = Part(start_milvus)
        for part in (*tritons, index):
            parts.callback(part.close)
        server = parts.enter_context(
            orchestrator.running(
                folder / "orchestrator",
                repository=repository,
                triton=",".join(f"{ports.LOOPBACK}:{each.grpc}" for each in triton_ports),
                milvus=f"http://{ports.LOOPBACK}:{milvus_port}",
            )
        )
        client = parts.enter_context(Client(server.address))
        client.put_item(NewItem("red", [RED_PHOTO]))
        health = health_pb2_grpc.HealthStub(parts.enter_context(grpc.insecure_channel(server.address)))
        yield Stack(tritons, triton_ports, index, server, client, health)


def inferences(each: triton.Ports) -> int:
    """How many a Triton has answered since it was started."""
    return statistics.read(f"{ports.LOOPBACK}:{each.grpc}")["detector"].count


def test_one_of_two_tritons_dies_and_comes_back(stack: Stack) -> None:
    def both_are_used() -> bool:
        before = [inferences(each) for each in stack.triton_ports]
        for _ in range(10):
            stack.client.search(RED_PHOTO)
        return all(inferences(each) > count for each, count in zip(stack.triton_ports, before, strict=True))

    until(both_are_used)
    stack.tritons[0].kill()
    with grpc.insecure_channel(stack.server.address, [("grpc.enable_retries", 0)]) as bare:
        for _ in range(50):
            search_pb2_grpc.SearchServiceStub(bare).Search(search_pb2.SearchRequest(image=RED_PHOTO), timeout=PATIENCE)
    assert stack.serving(*SEARCHES) == {True}
    stack.tritons[0].start()
    until(both_are_used)


@pytest.mark.parametrize("missing", ["triton", "milvus"])
def test_what_dies_is_told_and_taken_back(stack: Stack, missing: str) -> None:
    parts = stack.tritons if missing == "triton" else [stack.milvus]
    for part in parts:
        part.kill()
    assert stack.fails(UnavailableError) < DEADLINE + MARGIN
    stack.becomes(serving=False)
    assert stack.fails(UnavailableError) < DEADLINE
    for part in parts:
        part.start()
    stack.becomes(serving=True)
    assert stack.client.search(RED_PHOTO).objects[0].hits[0].item_id == "red"


@pytest.mark.parametrize("missing", ["triton", "milvus"])
def test_what_hangs_is_noticed_and_taken_back(stack: Stack, missing: str) -> None:
    parts = stack.tritons if missing == "triton" else [stack.milvus]
    for part in parts:
        part.hang()
    try:
        assert stack.fails(UnavailableError, DeadlineExceededError) < DEADLINE + MARGIN
        stack.becomes(serving=False)
        # At once, and not after the deadline.
        assert stack.fails(UnavailableError) < DEADLINE
    finally:
        for part in parts:
            part.go_on()
    stack.becomes(serving=True)
    assert stack.client.search(RED_PHOTO).objects[0].hits[0].item_id == "red"


def test_health_is_true_without_traffic(stack: Stack) -> None:
    stack.milvus.hang()
    try:
        begin = time.monotonic()
        stack.becomes(serving=False)
        assert time.monotonic() - begin < 1.5 * PROBE_SECONDS + FAILURES * PROBE_TIMEOUT + 2 * MARGIN
    finally:
        stack.milvus.go_on()
    stack.becomes(serving=True)
