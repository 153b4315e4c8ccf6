"""A search as one trace, through the orchestrator, Triton and Milvus; with null models, which are there at once."""

from collections.abc import Iterator
from itertools import pairwise

import grpc
import pytest

from semblance.benchmarks import null_models
from semblance.client import Client, NewItem
from semblance.orchestrator.spans import STAGES
from semblance.serving import milvus, orchestrator, triton
from semblance.v1.search_pb2 import SearchRequest
from semblance.v1.search_pb2_grpc import SearchServiceStub
from tests.collector import Collector, Span, collecting
from tests.stack import World

TRACES = [f"0af7651916cd43dd8448eb211c8031{number:02x}" for number in range(5)]
CALLER = "b7ad6b7169203331"
SEARCH = "semblance.v1.SearchService/Search"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def traced(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[orchestrator.Orchestrator]:
    folder = tmp_path_factory.mktemp("traces")
    null_models.publish(folder / "models")
    # None but those whose callers ask for it.
    settings = {
        "SEMBLANCE_OTLP_ENDPOINT": collector.grpc,
        "SEMBLANCE_TRACE_SHARE": "0",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with (
        triton.running(folder / "models", folder / "triton", models=(), traces=collector.http) as inference,
        milvus.lite(folder / "milvus") as vectors,
        orchestrator.running(
            folder / "orchestrator",
            repository=folder / "models",
            triton=inference.grpc,
            milvus=vectors.uri,
            settings=settings,
        ) as server,
    ):
        yield server


def test_a_search_is_one_trace_with_all_its_stages_and_calls(
    traced: orchestrator.Orchestrator, collector: Collector, world: World
) -> None:
    item_id, photo = next(iter(world.photos.items()))
    with Client(traced.address) as client:
        client.put_item(NewItem(item_id, [photo]))
        client.search(photo)
    with grpc.insecure_channel(traced.address) as channel:
        for trace in TRACES:
            SearchServiceStub(channel).Search(
                SearchRequest(image=photo.read_bytes()),
                metadata=(("traceparent", f"00-{trace}-{CALLER}-01"), ("x-request-id", "traced")),
                timeout=30,
            )

    def enough(spans: list[Span]) -> bool:
        return sum(span.name == SEARCH for span in spans) == len(TRACES) == len(tritons(spans)) / 2

    spans = collector.wait(enough)
    # The others' callers did not ask for it.
    assert {span.trace_id for span in spans} == {*TRACES}
    unaccounted = [check([span for span in spans if span.trace_id == trace]) for trace in TRACES]
    # The reading of the message, and what the spans themselves take; in most there is also a moment of another process.
    assert 0 <= min(unaccounted) <= 0.05


def check(spans: list[Span]) -> float:
    """Of one search; the part of its time that is no stage's."""
    ours = [span for span in spans if span.service == "semblance-orchestrator"]
    [whole] = [span for span in ours if span.name == SEARCH]
    assert whole.parent == CALLER
    assert (whole.attributes["semblance.request_id"], whole.attributes["rpc.grpc.status_code"]) == ("traced", 0)
    assert {span.attributes["semblance.release"] for span in ours} == {"r1"}

    stages = sorted((span for span in ours if span.parent == whole.span_id), key=lambda span: span.start)
    assert [span.name for span in stages] == list(STAGES)
    assert all(one.end <= next_one.start for one, next_one in pairwise(stages))
    by_name = {span.name: span for span in stages}
    calls = {span.name: span for span in ours if span.parent in {stage.span_id for stage in stages}}
    assert {name: call.parent for name, call in calls.items()} == {
        "Triton detector": by_name["detect"].span_id,
        "Triton embedder": by_name["embed"].span_id,
        "Milvus search": by_name["search"].span_id,
    }
    assert len(ours) == 1 + len(STAGES) + len(calls)
    models = calls["Triton detector"], calls["Triton embedder"]
    assert {span.parent for span in tritons(spans)} == {call.span_id for call in models}
    computed = sorted((span for span in spans if span.name == "compute"), key=lambda span: span.start)
    assert all(call.start <= span.start and span.end <= call.end for call, span in zip(models, computed, strict=True))
    return (whole.seconds - sum(span.seconds for span in stages)) / whole.seconds


def tritons(spans: list[Span]) -> list[Span]:
    """The outermost spans of Triton."""
    theirs = [span for span in spans if span.service == "triton"]
    return [span for span in theirs if span.parent not in {each.span_id for each in theirs}]
