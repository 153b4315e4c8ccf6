"""Which requests are traced, and what their spans tell; with fakes. `tests/e2e/test_traces.py` has a whole trace."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from semblance.orchestrator.adapters import tracing
from semblance.orchestrator.settings import Settings, SettingsError
from semblance.serving import ports
from semblance.v1.search_pb2 import SearchRequest
from tests.collector import Collector, Span, collecting
from tests.integration.service.world import PATIENCE, RED_PHOTO, World, item

SEARCH = "semblance.v1.SearchService/Search"
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    with collecting() as collector:
        yield collector


def traceparent(flags: str) -> tuple[tuple[str, str]]:
    return (("traceparent", f"00-{TRACE}-{CALLER}-{flags}"),)


async def whole(collector: Collector, name: str = SEARCH, count: int = 1) -> list[Span]:
    """The spans of so many requests."""
    spans = await asyncio.to_thread(collector.wait, lambda spans: sum(span.name == name for span in spans) >= count)
    return [span for span in spans if span.name == name]


async def test_a_share_is_traced_and_what_its_caller_has_decided(
    start: Callable[..., Any], collector: Collector
) -> None:
    none = await start(otlp_endpoint=collector.grpc, trace_share=0)
    every = await start(otlp_endpoint=collector.grpc, trace_share=1)
    for caller, metadata in ((none, ()), (none, traceparent("00")), (every, traceparent("00"))):
        await caller.searching.Search(SearchRequest(image=RED_PHOTO), metadata=metadata, timeout=PATIENCE)
    await every.searching.Search(SearchRequest(image=RED_PHOTO), timeout=PATIENCE)
    await none.searching.Search(SearchRequest(image=RED_PHOTO), metadata=traceparent("01"), timeout=PATIENCE)
    spans = await whole(collector, count=2)
    assert sorted((span.trace_id == TRACE, span.parent) for span in spans) == [(False, ""), (True, CALLER)]


async def test_a_failure_is_seen_where_it_happened(
    start: Callable[..., Any], collector: Collector, world: World
) -> None:
    caller = await start(otlp_endpoint=collector.grpc, trace_share=1)
    with pytest.raises(grpc.aio.AioRpcError):
        await caller.search(b"no image")
    [span] = await whole(collector)
    assert span.failed
    assert (span.attributes["rpc.grpc.status_code"], span.attributes["semblance.release"]) == (3, "r1")
    stages = {each.name: each.failed for each in collector.spans if each.parent == span.span_id}
    assert stages == {"admission": False, "decode": True}


async def test_each_message_of_a_stream_is_traced_for_itself(start: Callable[..., Any], collector: Collector) -> None:
    caller = await start(otlp_endpoint=collector.grpc, trace_share=1)
    requests = [SearchRequest(request_id=name, image=RED_PHOTO) for name in ("a", "b")]
    assert len([answer async for answer in caller.searching.SearchStream(iter(requests), timeout=PATIENCE)]) == 2
    spans = await whole(collector, "semblance.v1.SearchService/SearchStream", count=2)
    assert len({span.trace_id for span in spans}) == 2
    assert sorted(span.attributes["semblance.request_id"].partition("/")[2] for span in spans) == ["1", "2"]


async def test_a_put_is_traced_too(start: Callable[..., Any], collector: Collector) -> None:
    caller = await start(otlp_endpoint=collector.grpc, trace_share=1)
    await caller.put(item("red", RED_PHOTO))
    [span] = await whole(collector, "semblance.v1.CatalogService/Put")
    assert span.attributes["semblance.release"] == "r1"


async def test_the_service_serves_and_ends_though_no_collector_answers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "CLOSE_SECONDS", 0.5)
    # The test's own loop waits for what the service does not.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "1")
    [port] = ports.free(1)
    service = world.service(otlp_endpoint=f"http://127.0.0.1:{port}", trace_share=1)
    address = f"127.0.0.1:{await service.bind()}"
    await service.activate()
    async with grpc.aio.insecure_channel(address) as channel:
        search: Any = channel.unary_unary(f"/{SEARCH}")
        await search(SearchRequest(image=RED_PHOTO).SerializeToString(), timeout=PATIENCE)
    began = time.monotonic()
    await service.stop()
    assert time.monotonic() - began < PATIENCE / 2


async def test_who_wants_traces_needs_what_sends_them(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "semblance.orchestrator.adapters.tracing", None)
    world.service()
    with pytest.raises(SettingsError, match=r"install semblance-orchestrator\[tracing\]"):
        world.service(otlp_endpoint="http://127.0.0.1:4317")


def test_a_collectors_address_has_a_scheme_and_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("127.0.0.1:4317", "http://127.0.0.1:4318/v1/traces", "grpc://x:1"):
        with pytest.raises(SettingsError, match="--otlp-endpoint is"):
            Settings.read({"otlp_endpoint": wrong})
