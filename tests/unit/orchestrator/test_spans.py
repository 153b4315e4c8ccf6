"""Which spans a traced request gets, and that one that is not traced gets none."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from semblance.orchestrator import spans
from semblance.orchestrator.pipeline import Stopwatch
from semblance.orchestrator.request import Request, answering


@dataclass
class Recorded:
    name: str
    attributes: Mapping[str, str | int] | None = None
    linked: "Recorded | None" = None
    began_at: int | None = None
    children: "list[Recorded]" = field(default_factory=list)
    ended: str | None = None
    ended_at: int | None = None

    @property
    def traceparent(self) -> str:
        return f"of {self.name}"

    def child(
        self,
        name: str,
        attributes: Mapping[str, str | int] | None = None,
        linked: "Recorded | None" = None,
        at: int | None = None,
    ) -> "Recorded":
        self.children.append(Recorded(name, attributes, linked, at))
        return self.children[-1]

    def end(self, error: str = "", at: int | None = None) -> None:
        assert self.ended is None, "it has ended already"
        self.ended, self.ended_at = error, at

    def finish(self, caller: str) -> None:
        self.end()


@pytest.fixture
def request_span() -> Iterator[Recorded]:
    span = Recorded("request")
    token = answering.set(Request("1", "Search", span=span))
    yield span
    answering.reset(token)


def names(span: Recorded) -> list[str]:
    return [child.name for child in span.children]


async def test_each_stage_ends_where_the_next_one_begins(request_span: Recorded) -> None:
    with spans.stages() as on_lap:
        stopwatch = Stopwatch(on_lap=on_lap)
        for number, stage in enumerate(spans.STAGES):
            assert spans.current() is request_span.children[-1]
            assert names(request_span) == list(spans.STAGES[: number + 1])
            stopwatch.lap(stage)
    assert {child.ended for child in request_span.children} == {""}
    assert all(one.ended_at == following.began_at for one, following in pairwise(request_span.children))
    assert spans.current() is request_span


async def test_the_stage_in_which_a_request_fails_tells_so(request_span: Recorded) -> None:
    def search() -> None:
        with spans.stages() as on_lap:
            Stopwatch(on_lap=on_lap).lap("admission")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        search()
    assert [(child.name, child.ended) for child in request_span.children] == [("admission", ""), ("decode", "broken")]


async def test_a_call_belongs_to_what_is_under_way(request_span: Recorded) -> None:
    with spans.stages(), spans.calling("Triton", {"rows": 2}) as metadata:
        [stage] = request_span.children
        [call] = stage.children
        assert metadata == [("traceparent", "of Triton")]
        assert (call.attributes, call.ended) == ({"rows": 2}, None)
    assert call.ended == ""


async def test_a_call_for_several_is_in_the_trace_of_each_and_goes_on_in_one() -> None:
    first, second = Recorded("first"), Recorded("second")
    with pytest.raises(TimeoutError), spans.calling("Triton", {}, [None, first, second]) as metadata:
        raise TimeoutError
    assert metadata == [("traceparent", "of Triton")]
    assert first.children[0].linked is None
    assert second.children[0].linked is first.children[0]
    assert [span.children[0].ended for span in (first, second)] == ["TimeoutError", "TimeoutError"]


async def test_what_is_not_traced_costs_nothing() -> None:
    for request in (None, Request("1", "Search")):
        answering.set(request)
        with spans.stages() as on_lap, spans.calling("Triton", {}) as metadata:
            assert (on_lap, metadata, spans.current()) == (None, None, None)
        with spans.calling("Triton", {}, [None, None]) as metadata:
            assert metadata is None
