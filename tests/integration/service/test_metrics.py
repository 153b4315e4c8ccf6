"""What Prometheus gets, from a real scrape."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from semblance.orchestrator.adapters.manifests import FileModelRepository
from semblance.orchestrator.address import AddressInUse
from semblance.orchestrator.backlog import Backlog
from semblance.orchestrator.dependency import FAILURES
from semblance.orchestrator.errors import DependencyUnavailable
from semblance.orchestrator.ports import Ports
from semblance.orchestrator.statistics import Total
from semblance.serving import ports
from semblance.v1.catalog_pb2 import CountRequest, GetRequest
from semblance.v1.search_pb2 import SearchRequest
from tests.integration.service.test_access import TOKENS, bearing, entry, write
from tests.integration.service.world import GREY_PHOTO, PATIENCE, RED_PHOTO, Caller, World, item, until
from tests.scrape import Scrape

DOCS = Path(__file__).resolve().parents[3] / "docs" / "observability.md"
SEARCH = "semblance.v1.SearchService/Search"


@pytest.fixture
def listen() -> str:
    return f"127.0.0.1:{ports.free(1)[0]}"


async def scrape(listen: str) -> Scrape:
    return await asyncio.to_thread(Scrape.of, listen)


async def test_requests_are_counted_by_what_they_were_and_what_became_of_them(
    start: Callable[..., Any], world: World, listen: str
) -> None:
    caller = await start(metrics_listen=listen)
    await caller.put(item("red", RED_PHOTO), item("", RED_PHOTO))
    for _ in range(3):
        await caller.search(RED_PHOTO)
    for image, top_k in ((b"no image", 1), (RED_PHOTO, 1_000_000)):
        with pytest.raises(grpc.aio.AioRpcError):
            await caller.search(image, top_k=top_k)
    await caller.catalog.Count(CountRequest(), timeout=PATIENCE)
    with pytest.raises(grpc.aio.AioRpcError):
        await caller.catalog.Get(GetRequest(item_id="green"), timeout=PATIENCE)
    with pytest.raises(grpc.aio.AioRpcError):
        await caller.channel.unary_unary("/semblance.v1.SearchService/Anything")(b"", timeout=PATIENCE)

    seen = await scrape(listen)
    catalog = "semblance.v1.CatalogService"
    # In the order of the labels' names: caller, method, release, status.
    assert seen.series("semblance_requests_total") == {
        ("anybody", SEARCH, "r1", "OK"): 3,
        ("anybody", SEARCH, "r1", "INVALID_ARGUMENT"): 1,
        ("anybody", SEARCH, "", "INVALID_ARGUMENT"): 1,
        ("anybody", f"{catalog}/Put", "r1", "OK"): 1,
        ("anybody", f"{catalog}/Put", "", "INVALID_ARGUMENT"): 1,
        ("anybody", f"{catalog}/Count", "r1", "OK"): 1,
        ("anybody", f"{catalog}/Get", "r1", "NOT_FOUND"): 1,
    }
    assert seen.series("semblance_request_failures_total") == {
        (SEARCH, "INVALID_IMAGE"): 1,
        (SEARCH, "INVALID_ARGUMENT"): 1,
        (f"{catalog}/Put", "INVALID_ARGUMENT"): 1,
        (f"{catalog}/Get", "NOT_FOUND"): 1,
    }
    assert seen("semblance_request_duration_seconds_count", method=SEARCH, release="r1") == 4
    stages = seen.series("semblance_stage_duration_seconds_count")
    assert stages == dict.fromkeys(
        [(stage,) for stage in ("admission", "decode", "detect", "crop", "embed", "search", "encode")], 3
    )
    total = seen("semblance_request_duration_seconds_sum", method=SEARCH, release="r1")
    assert total is not None
    assert 0 < sum(seen.series("semblance_stage_duration_seconds_sum").values()) <= total


async def test_callers_are_told_apart_by_their_names_in_the_file_and_strangers_are_not(
    start: Callable[..., Any], listen: str, tmp_path: Path
) -> None:
    callers = write(tmp_path / "callers.json", *(entry(role, TOKENS[role]) for role in ("search", "admin")))
    caller = await start(metrics_listen=listen, callers=str(callers))

    async def search(token: str) -> None:
        await caller.searching.Search(SearchRequest(image=GREY_PHOTO), metadata=bearing(token), timeout=PATIENCE)

    await search(TOKENS["search"])
    await search(TOKENS["admin"])
    for token in ("semblance.a.x", "semblance.b.x"):
        with pytest.raises(grpc.aio.AioRpcError):
            await search(token)
    with pytest.raises(grpc.aio.AioRpcError):
        await caller.channel.unary_unary("/semblance.v1.Anything/Anything")(b"", timeout=PATIENCE)
    assert (await scrape(listen)).series("semblance_requests_total") == {
        ("search", SEARCH, "r1", "OK"): 1,
        ("admin", SEARCH, "r1", "OK"): 1,
        ("anybody", SEARCH, "", "UNAUTHENTICATED"): 2,
    }


async def test_every_message_of_a_stream_counts_and_a_stream_only_where_it_fails(
    start: Callable[..., Any], listen: str
) -> None:
    caller = await start(metrics_listen=listen)
    method = "semblance.v1.SearchService/SearchStream"
    requests = [SearchRequest(request_id=str(number), image=image) for number, image in enumerate([GREY_PHOTO, b"x"])]
    answers = [answer async for answer in caller.searching.SearchStream(iter(requests), timeout=PATIENCE)]
    assert len(answers) == 2
    unreadable = caller.channel.stream_stream(f"/{method}")
    with pytest.raises(grpc.aio.AioRpcError):
        [answer async for answer in unreadable(iter([b"\xff"]), timeout=PATIENCE)]
    seen = await scrape(listen)
    assert seen.series("semblance_requests_total") == {
        ("anybody", method, "r1", "OK"): 1,
        ("anybody", method, "r1", "INVALID_ARGUMENT"): 1,
        ("anybody", method, "", "INVALID_ARGUMENT"): 1,
    }
    assert seen.series("semblance_request_duration_seconds_count") == {(method, "r1"): 2}


async def test_what_the_service_does_now_is_seen(start: Callable[..., Any], world: World, listen: str) -> None:
    caller = await start(metrics_listen=listen, search_in_flight=1, search_queue=1)
    world.models.gate.clear()
    searches = [asyncio.ensure_future(caller.search(RED_PHOTO)) for _ in range(3)]
    done, waiting = await asyncio.wait(searches, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE)
    await until(lambda: world.models.waiting == 1)
    seen = await scrape(listen)
    assert seen("semblance_admission_in_flight", lane="search") == 1
    assert seen("semblance_admission_waiting", lane="search") == 1
    assert seen("semblance_admission_limit") == 1
    assert seen("semblance_admission_refused_total", lane="search", reason="queue_full") == 1
    assert seen("semblance_request_failures_total", method=SEARCH, reason="OVERLOADED") == 1
    cancelled = waiting.pop()
    for search in [*done, cancelled]:
        search.cancel()
    await asyncio.wait([cancelled])

    async def became(status: str) -> bool:
        return any(labels[-1] == status for labels in (await scrape(listen)).series("semblance_requests_total"))

    async with asyncio.timeout(PATIENCE):
        while not await became("CANCELLED"):
            await asyncio.sleep(0.01)
    # Only now: answered first, the search would count as one that went well.
    world.models.gate.set()
    await asyncio.gather(*searches, return_exceptions=True)


async def test_what_is_needed_and_what_is_live_is_seen(start: Callable[..., Any], world: World, listen: str) -> None:
    caller = await start(metrics_listen=listen)
    await caller.search(RED_PHOTO)
    seen = await scrape(listen)
    assert seen.series("semblance_dependency_available") == dict.fromkeys(
        [("Triton",), ("Milvus",), ("the metadata store",)], 1
    )
    assert seen("semblance_service_serving", service="semblance.v1.SearchService") == 1
    assert seen("semblance_transport_inputs_total", server="Triton", way="bytes") == 2
    assert seen.series("semblance_server_failovers_total") == {("Triton",): 0}
    assert seen("semblance_release_traffic_percent", release="r1", role="active") == 100
    assert seen("semblance_release_problem", release="r1") == 0
    [[collection, *described]] = seen.series("semblance_release_info")
    assert described == ["detector:1", "embedder:1", "r1", "active"]
    assert collection

    # More than the calls that are counted: what looks after releases asks, too.
    world.index.fail(*(DependencyUnavailable("it does not answer") for _ in range(100)))
    for _ in range(FAILURES):
        with pytest.raises(grpc.aio.AioRpcError):
            await caller.search(RED_PHOTO)
    seen = await scrape(listen)
    assert seen("semblance_dependency_available", dependency="Milvus") == 0
    assert seen("semblance_dependency_failures_total", dependency="Milvus", kind="call") == FAILURES
    assert seen("semblance_service_serving", service="semblance.v1.SearchService") == 0


async def test_the_keeper_alone_counts_what_is_unsettled(world: World) -> None:
    repository = FileModelRepository(str(world.repository))
    reached = Ports({}, repository, world.index, world.metadata, world.registry, world.images, world.feedback)
    service = world.service()
    await service.bind()
    await service.activate()
    await service.stop()
    [registered] = await world.registry.releases()
    await world.metadata.unsettle(registered.release.collection, ["lost"])
    keeps = True
    backlog = Backlog(reached, lambda: keeps)
    await backlog.look()
    assert backlog.items == {"r1": 1}
    keeps = False
    await backlog.look()
    assert backlog.items == {}


async def test_a_busy_port_stops_the_start(start: Callable[..., Any], listen: str) -> None:
    await start(metrics_listen=listen)
    with pytest.raises(AddressInUse, match=listen):
        await start(metrics_listen=listen)


async def test_the_documentation_names_what_there_is(start: Callable[..., Any], listen: str) -> None:
    caller: Caller = await start(metrics_listen=listen)
    await caller.search(RED_PHOTO)
    documented = {
        name: (text, labels.replace("`", "").split(", ") if labels else [])
        for name, labels, text in re.findall(r"^\| `(semblance_\w+)` \| (.*?) ?\| (.*) \|$", DOCS.read_text(), re.M)
    }
    seen = {
        f"{family.name}_total" if family.type == "counter" else family.name: family
        for family in (await scrape(listen)).families
        if not family.name.startswith("process_")
    }
    assert documented.keys() == seen.keys()
    for name, family in seen.items():
        text, labels = documented[name]
        assert text == family.documentation, name
        for sample in family.samples:
            assert {*sample.labels} - {"le"} == {*labels}, name


def test_a_bucket_holds_what_is_as_long_as_its_edge() -> None:
    total = Total()
    for seconds in (0.0005, 0.0006, 0.001, 61.0):
        total.add(seconds)
    assert total.buckets[:3] == [1, 2, 0]
    assert total.buckets[-1] == 1
