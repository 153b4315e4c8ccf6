"""What callers see while the network to Triton or Milvus fails, and how soon they are served after."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc import StatusCode
from grpc_status import rpc_status

from semblance.client import Client
from semblance.serving import milvus, orchestrator, triton
from semblance.serving.ports import LOOPBACK
from semblance.v1.catalog_pb2 import PutRequest
from semblance.v1.catalog_pb2_grpc import CatalogServiceStub
from semblance.v1.item_pb2 import Item, ItemImage
from semblance.v1.search_pb2 import SearchRequest
from semblance.v1.search_pb2_grpc import SearchServiceStub
from tests.faults import models
from tests.faults.ledger import Version, photo
from tests.faults.proxy import Fault, Proxy

# What the service gives a request, and how much later its answer may come, in seconds.
DEADLINE, LATE = 2.0, 1.0
RECOVERY = 10.0
ITEM = Version("known", 1, photo(0, "known", 1))


@dataclass(frozen=True, slots=True)
class World:
    service: orchestrator.Orchestrator
    proxies: dict[str, Proxy]


@pytest.fixture(scope="module", params=["shared_memory", "bytes"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("network")
    models.publish(folder / "model_repository")
    with (
        triton.running(folder / "model_repository", folder / "triton") as inference,
        milvus.lite(folder / "milvus") as vectors,
        closing(Proxy(inference.ports.grpc)) as to_triton,
        closing(Proxy(vectors.port)) as to_milvus,
        orchestrator.running(
            folder / "orchestrator",
            repository=folder / "model_repository",
            triton=f"{LOOPBACK}:{to_triton.port}",
            milvus=f"http://{LOOPBACK}:{to_milvus.port}",
            settings={
                "SEMBLANCE_TRANSPORT": request.param,
                "SEMBLANCE_DEFAULT_DEADLINE": str(DEADLINE),
                "SEMBLANCE_MAX_DEADLINE": str(DEADLINE),
            },
        ) as service,
    ):
        with Client(service.address) as client:
            client.put_item(ITEM.item)
        yield World(service, {"triton": to_triton, "milvus": to_milvus})


def search(address: str) -> tuple[StatusCode, str]:
    """The status, and whose ErrorInfo it has."""
    with grpc.insecure_channel(address) as channel:
        call = SearchServiceStub(channel).Search.future(SearchRequest(image=ITEM.photo))
        try:
            call.result(timeout=DEADLINE + LATE)
        except grpc.RpcError:
            status, info = rpc_status.from_call(call), ErrorInfo()
            assert status.details[0].Unpack(info)
            return call.code(), info.domain
        return StatusCode.OK, ""


def put(address: str, number: int) -> tuple[StatusCode, str]:
    """The same of a put."""
    item = Item(item_id="new", images=[ItemImage(data=photo(0, "new", number))])
    with grpc.insecure_channel(address) as channel:
        answers: Any = CatalogServiceStub(channel).Put(iter([PutRequest(item=item)]), timeout=DEADLINE + LATE)
        (answer,) = answers
    codes = {code.value[0]: code for code in StatusCode}
    return codes[answer.failure.code], "semblance" if answer.failure.reason else ""


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name.lower())
@pytest.mark.parametrize("dependency", ["triton", "milvus"])
def test_a_failing_network_is_an_answer_in_time_and_healed_without_a_restart(
    world: World, dependency: str, fault: Fault
) -> None:
    address, pid = world.service.address, world.service.pid
    assert search(address) == (StatusCode.OK, "")
    with world.proxies[dependency].failing(fault), ThreadPoolExecutor() as threads:
        for number in range(2):
            for answer in (threads.submit(search, address), threads.submit(put, address, number)):
                assert answer.result() in (
                    (StatusCode.UNAVAILABLE, "semblance"),
                    (StatusCode.DEADLINE_EXCEEDED, "semblance"),
                )
    healed = time.monotonic()
    while search(address)[0] is not StatusCode.OK or put(address, 9)[0] is not StatusCode.OK:
        assert time.monotonic() - healed < RECOVERY
    with Client(address) as client:
        assert client.search(ITEM.photo).objects[0].hits[0].item_id == ITEM.item_id
        assert client.search(photo(0, "new", 9)).objects[0].hits[0].item_id == "new"
    assert world.service.pid == pid
