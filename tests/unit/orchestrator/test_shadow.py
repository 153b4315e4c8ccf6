"""What is seen of a release behind the answers of another one, which notice nothing of it."""

import asyncio
import gc
import logging
import random
import time
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, cast

import pytest

from semblance.orchestrator.admission import Admission
from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.errors import (
    ContractMismatch,
    DeadlineExceeded,
    DependencyUnavailable,
    Forbidden,
    InvalidArgument,
    InvalidFilter,
    InvalidImage,
    Overloaded,
    RateLimited,
)
from semblance.orchestrator.grpc_edge.searcher import Searcher
from semblance.orchestrator.limit import Limit
from semblance.orchestrator.observations import Observations
from semblance.orchestrator.pipeline import Answer, Pipeline, Query, Selection, Stopwatch
from semblance.orchestrator.queue import FairQueue
from semblance.orchestrator.release import Canary, Release
from semblance.orchestrator.schema import Schema
from semblance.orchestrator.shadow import MOST, Shadows
from semblance.orchestrator.statistics import Statistics
from semblance.orchestrator.suspects import Suspects, Suspicion
from semblance.orchestrator.testing import MemoryMetadataStore, example_release
from semblance.orchestrator.traffic import Traffic
from semblance.orchestrator.verdicts import Verdicts
from semblance.v1.search_pb2 import SearchResponse
from tests.integration.service.world import until
from tests.unit.orchestrator.answers import BOX, answer, hits

ACTIVE = example_release()
CANDIDATE = replace(ACTIVE, release_id="r2", collection="other")
THIRD = replace(ACTIVE, release_id="r3", collection="third")
QUERY = Query(b"a photo", Selection(), 10, -1.0, None, False)
ANSWERS = {
    "r1": answer((BOX, hits(("a", 0.9), ("b", 0.8))), release_id="r1"),
    "r2": answer((BOX, hits(("a", 0.7), ("c", 0.6), ("d", 0.5))), release_id="r2"),
    "r3": answer((BOX, hits(("e", 0.7))), release_id="r3"),
}
SHADOW = Traffic(ACTIVE, shadow=(CANDIDATE, 100.0))
CANARY = Traffic(ACTIVE, canary=(CANDIDATE, Canary(0.0, ("canary",))))
GONE = DependencyUnavailable("it does not answer")


class ScriptedPipeline(Pipeline):
    """Answers as `ANSWERS` say, or `errors`, when the gate of the release is open."""

    def __init__(self) -> None:
        self.errors: dict[str, Exception] = {}
        self.gates = {name: asyncio.Event() for name in ANSWERS}
        for gate in self.gates.values():
            gate.set()
        self.asked: Counter[str] = Counter()
        self.at_once = self.most = 0

    async def search(self, query: Query, release: Release, deadline: Deadline, stopwatch: Stopwatch) -> Answer:
        assert query is QUERY
        name = release.release_id
        self.asked[name] += 1
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await self.gates[name].wait()
        finally:
            self.at_once -= 1
        if name in self.errors:
            raise self.errors[name]
        return ANSWERS[name]


class Watched:
    """`Shadows` of a service that has much room, and where copies may take long."""

    def __init__(self, traffic: Traffic | None, seconds: float = 100.0) -> None:
        queues: dict[str, Any] = {lane: FairQueue(10, 2**20) for lane in ("search", "ingest", "lookup")}
        self.admission = Admission(Limit(4, tolerance=3.0), **queues, ingests=1, lookups=1)
        self.admission.traffic = traffic
        self.pipeline = ScriptedPipeline()
        self.shadows = Shadows(self.pipeline, self.admission, seconds)

    def offer(
        self, served: Release = ACTIVE, result: Answer | BaseException | None = None, seconds: float = 0.1
    ) -> None:
        self.shadows.offer(QUERY, served, result or ANSWERS[served.release_id], seconds)

    async def copied(self, served: Release = ACTIVE, result: Answer | BaseException | None = None) -> None:
        """Offers it, and waits for the copy."""
        self.offer(served, result)
        await self.idle()

    async def idle(self) -> None:
        await until(lambda: not self.shadows._running)

    def seen(self, release_id: str = "r2") -> Observations:
        return Observations.from_json(dict(self.shadows.observed())[release_id])

    @property
    def candidates(self) -> list[str]:
        return [release_id for release_id, _ in self.shadows.observed()]


@pytest.fixture
async def watched(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Watched]:
    """With a shadow of all searches. No task of a copy dies of an error that nobody sees."""
    made = Watched(SHADOW)
    yield made
    await made.shadows.close()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def alone(watched: Watched) -> bool:
    return watched.candidates == [] and not watched.pipeline.asked


@pytest.mark.parametrize("traffic", [None, Traffic(ACTIVE)])
async def test_without_a_candidate_nothing_is_copied_or_seen(watched: Watched, traffic: Traffic | None) -> None:
    watched.admission.traffic = traffic
    watched.offer()
    watched.offer(result=GONE)
    await watched.idle()
    assert alone(watched)


async def test_a_shadow_is_compared_with_the_active_release(watched: Watched) -> None:
    await watched.copied()
    seen = watched.seen()
    assert watched.pipeline.asked == {"r2": 1}
    assert (seen.compared, seen.candidate.requests, seen.candidate.failed, seen.dropped) == (1, 1, 0, 0)
    # Of a and b it has a, which it finds less similar.
    assert seen.overlaps[10].value == 0.5
    assert seen.score_shift.value == pytest.approx(-0.2)
    assert seen.active.quantile(1.0) == pytest.approx(0.1, rel=0.05)


async def test_a_shadow_gets_its_share_of_the_searches(watched: Watched) -> None:
    watched.admission.traffic = replace(SHADOW, shadow=(CANDIDATE, 20.0))
    watched.shadows._random = random.Random(1)
    watched.pipeline.gates["r2"].clear()
    for _ in range(10_000):
        watched.offer()
    # Four standard deviations of a choice by chance.
    assert MOST + watched.seen().dropped == pytest.approx(2000, abs=160)


async def test_only_answers_of_the_active_release_are_shadowed(watched: Watched) -> None:
    watched.offer(result=GONE)
    watched.offer(served=THIRD)
    await watched.idle()
    assert alone(watched)


async def test_a_canarys_searches_are_compared_with_the_active_release(watched: Watched) -> None:
    watched.admission.traffic = CANARY
    await watched.copied(served=CANDIDATE)
    seen = watched.seen()
    assert watched.pipeline.asked == {"r1": 1}
    assert seen.compared == 1
    # As of a shadow: the active release's items are those that are looked for.
    assert seen.overlaps[10].value == 0.5
    assert seen.score_shift.value == pytest.approx(-0.2)
    # The copy's time is nobody's.
    assert (seen.candidate.requests, seen.active.requests) == (1, 0)


async def test_beside_a_canary_the_active_releases_searches_are_counted_and_not_copied(watched: Watched) -> None:
    watched.admission.traffic = CANARY
    watched.offer(seconds=0.4)
    watched.offer(result=GONE)
    watched.offer(served=CANDIDATE, result=ContractMismatch("its model is not there"))
    await watched.idle()
    seen = watched.seen()
    assert not watched.pipeline.asked
    assert (seen.active.requests, seen.active.failed) == (2, 1)
    assert seen.active.quantile(1.0) == pytest.approx(0.4, rel=0.05)
    assert (seen.candidate.requests, seen.candidate.failed, seen.compared) == (1, 1, 0)


async def test_a_copy_that_fails_on_the_active_release_is_no_fault_of_the_canary(watched: Watched) -> None:
    watched.admission.traffic = CANARY
    watched.pipeline.errors["r1"] = GONE
    await watched.copied(served=CANDIDATE)
    seen = watched.seen()
    assert (seen.candidate.requests, seen.candidate.failed, seen.active.failed, seen.compared) == (1, 0, 0, 0)


async def test_what_a_release_before_them_served_is_neithers(watched: Watched) -> None:
    watched.admission.traffic = CANARY
    watched.offer(served=THIRD)
    watched.offer(served=THIRD, result=GONE)
    await watched.idle()
    assert Observations() == watched.seen()
    assert not watched.pipeline.asked


async def test_a_canary_and_a_shadow_are_seen_each_by_itself(watched: Watched) -> None:
    watched.admission.traffic = replace(CANARY, shadow=(THIRD, 100.0))
    await watched.copied()
    await watched.copied(served=CANDIDATE)
    assert watched.pipeline.asked == {"r1": 1, "r3": 1}
    assert (watched.seen("r2").overlaps[1].value, watched.seen("r3").overlaps[1].value) == (1.0, 0.0)


@pytest.mark.parametrize(
    "error", [GONE, ContractMismatch("its model is not there"), DeadlineExceeded("too slow"), KeyError("a defect")]
)
async def test_a_shadow_that_fails_is_seen_and_nothing_else(watched: Watched, error: Exception) -> None:
    watched.pipeline.errors["r2"] = error
    for _ in range(3):
        await watched.copied()
    seen = watched.seen()
    assert (seen.candidate.requests, seen.candidate.failed, seen.compared) == (3, 3, 0)
    assert (seen.active.requests, seen.active.failed) == (3, 0)


async def test_a_shadow_that_hangs_is_given_up_and_has_failed() -> None:
    watched = Watched(SHADOW, seconds=0.01)
    watched.pipeline.gates["r2"].clear()
    await watched.copied()
    assert (watched.seen().candidate.failed, watched.pipeline.at_once) == (1, 0)


@pytest.mark.parametrize(
    "error",
    [
        InvalidArgument("ask for fewer objects"),
        InvalidImage("no photo"),
        InvalidFilter("no such attribute"),
        Forbidden("no role"),
        RateLimited("too often"),
        Overloaded("its queue is full"),
        asyncio.CancelledError(),
    ],
)
async def test_what_is_the_callers_fault_is_none_of_a_release(watched: Watched, error: BaseException) -> None:
    watched.admission.traffic = CANARY
    watched.offer(result=error)
    watched.offer(served=CANDIDATE, result=error)
    seen = watched.seen()
    assert (seen.candidate.requests, seen.active.requests) == (0, 0)


async def test_a_canary_that_answers_too_late_has_failed(watched: Watched) -> None:
    watched.admission.traffic = CANARY
    watched.offer(served=CANDIDATE, result=DeadlineExceeded("too late"))
    assert (watched.seen().candidate.requests, watched.seen().candidate.failed) == (1, 1)


async def test_a_copy_of_what_can_not_be_asked_of_a_shadow_is_no_failure(watched: Watched) -> None:
    """It may see so many objects that fewer items of each can be asked for."""
    watched.pipeline.errors["r2"] = InvalidArgument("ask for fewer objects")
    await watched.copied()
    assert watched.seen().candidate.requests == watched.seen().active.requests == 0


@pytest.mark.parametrize("traffic", [SHADOW, CANARY])
async def test_a_copy_that_the_models_have_no_room_for_is_left_out(watched: Watched, traffic: Traffic) -> None:
    watched.admission.traffic = traffic
    watched.pipeline.errors = dict.fromkeys(ANSWERS, Overloaded("its queue is full"))
    await watched.copied(served=ACTIVE if traffic is SHADOW else CANDIDATE)
    assert (watched.seen().dropped, watched.seen().candidate.failed) == (1, 0)
    assert watched.seen().active.requests == 0, "nothing is there to compare its latency with"


async def test_few_copies_are_run_at_once_and_the_others_are_left_out_and_counted(watched: Watched) -> None:
    watched.pipeline.gates["r2"].clear()
    for _ in range(10):
        watched.offer()
    await until(lambda: watched.pipeline.at_once == MOST)
    watched.offer()
    assert watched.seen().dropped == 11 - MOST
    watched.pipeline.gates["r2"].set()
    await watched.idle()
    await watched.copied()
    assert watched.pipeline.most == MOST == 2
    assert (watched.seen().compared, watched.seen().dropped) == (MOST + 1, 11 - MOST)


async def test_copies_are_left_out_where_searches_need_the_room(watched: Watched) -> None:
    lane = watched.admission.search
    async with AsyncExitStack() as places:
        for _ in range(watched.admission.limit.value - 1):
            await places.enter_async_context(lane.admit("a", 1, Deadline.after(10)))
        await watched.copied()
        assert watched.seen().dropped == 0
        await places.enter_async_context(lane.admit("a", 1, Deadline.after(10)))
        await watched.copied()
        assert watched.seen().dropped == 1
        watched.admission.limit = Limit(8, tolerance=3.0)
        await watched.copied()
        assert watched.seen().dropped == 1
    assert watched.pipeline.asked == {"r2": 2}


@pytest.mark.parametrize("lane", ["search", "ingest"])
async def test_copies_are_left_out_where_somebody_waits(watched: Watched, lane: str) -> None:
    where = getattr(watched.admission, lane)

    async def visit() -> None:
        async with where.admit("a", 1, Deadline.after(10)):
            pass

    async with AsyncExitStack() as places:
        while where.has_room:
            await places.enter_async_context(where.admit("a", 1, Deadline.after(10)))
        waiting = asyncio.create_task(visit())
        await until(lambda: where.waiting == 1)
        watched.admission.limit = Limit(8, tolerance=3.0)
        await watched.copied()
        assert (watched.seen().dropped, watched.pipeline.asked) == (1, {})
    await waiting


async def test_what_was_a_candidate_is_forgotten(watched: Watched) -> None:
    await watched.copied()
    assert watched.candidates == ["r2"]
    watched.admission.traffic = replace(SHADOW, shadow=(THIRD, 100.0))
    await watched.copied()
    assert watched.candidates == ["r3"]
    watched.admission.traffic = Traffic(CANDIDATE)
    assert watched.candidates == []
    watched.admission.traffic = SHADOW
    assert watched.candidates == []
    await watched.copied()
    assert watched.seen().compared == 1


async def test_a_copy_that_ends_when_its_release_is_no_candidate_any_more_is_forgotten(watched: Watched) -> None:
    watched.pipeline.gates["r2"].clear()
    watched.offer()
    watched.admission.traffic = Traffic(ACTIVE)
    assert watched.candidates == []
    watched.pipeline.gates["r2"].set()
    await watched.idle()
    watched.admission.traffic = SHADOW
    assert watched.candidates == []


@pytest.mark.parametrize(
    "then",
    [Traffic(THIRD, shadow=(CANDIDATE, 100.0)), Traffic(ACTIVE, canary=(CANDIDATE, Canary(5.0)))],
    ids=["another active release", "a canary now"],
)
async def test_what_was_seen_is_not_added_to_what_is_compared_now(watched: Watched, then: Traffic) -> None:
    await watched.copied()
    watched.pipeline.gates["r2"].clear()
    watched.offer()
    watched.admission.traffic = then
    assert watched.candidates == []
    watched.pipeline.gates["r2"].set()
    await watched.idle()
    assert watched.candidates == []


async def test_what_was_seen_stays_when_the_share_changes(watched: Watched) -> None:
    await watched.copied()
    watched.admission.traffic = replace(SHADOW, shadow=(CANDIDATE, 1.0))
    assert watched.seen().compared == 1


async def test_a_release_that_is_both_is_told_of_as_one(watched: Watched) -> None:
    watched.admission.traffic = replace(CANARY, shadow=(CANDIDATE, 100.0))
    await watched.copied()
    await watched.copied(served=CANDIDATE)
    assert (watched.seen().candidate.requests, watched.seen().compared) == (2, 2)
    assert watched.seen().active.requests == 1, "it was served once, and copied"


@pytest.mark.parametrize(("traffic", "served", "failed"), [(SHADOW, ACTIVE, 1), (CANARY, CANDIDATE, 0)])
async def test_a_release_that_is_refused_runs_no_copies(
    watched: Watched, traffic: Traffic, served: Release, failed: int
) -> None:
    refusals = {name: ContractMismatch("the model file has changed") for name in ("r1", "r2")}
    watched.admission.traffic = replace(traffic, refusals=refusals)
    await watched.copied(served=served)
    assert not watched.pipeline.asked
    assert (watched.seen().candidate.failed, watched.seen().compared) == (failed, 0)


async def test_searches_may_be_offered_while_what_was_seen_is_stored(watched: Watched) -> None:
    watched.admission.traffic = replace(CANARY, shadow=(THIRD, 100.0))
    watched.offer(served=CANDIDATE)
    stored = []
    for release_id, _ in watched.shadows.observed():
        stored.append(release_id)
        watched.offer()
    assert stored == ["r2"]
    assert watched.candidates == ["r2", "r3"]


async def test_closing_ends_copies_that_hang(watched: Watched) -> None:
    watched.pipeline.gates["r2"].clear()
    watched.offer()
    await until(lambda: watched.pipeline.at_once == 1)
    async with asyncio.timeout(10):
        await watched.shadows.close()
    assert watched.pipeline.at_once == 0
    assert watched.seen().candidate.failed == 0


def searcher(watched: Watched, check_needs: Callable[[], None] = lambda: None) -> Searcher:
    return Searcher(
        watched.pipeline,
        watched.admission,
        Schema(MemoryMetadataStore()),
        Statistics(),
        check_needs,
        watched.shadows,
        Suspects(cast(Verdicts, None), watched.admission, Suspicion(0.0, 0.0, 0.0)),
    )


async def ask(where: Searcher, caller: str = "somebody") -> SearchResponse:
    def encode(found: Answer) -> SearchResponse:
        assert found is ANSWERS[found.release_id]
        return SearchResponse(release=found.release_id)

    return await where.search(QUERY, caller, Deadline.after(10), encode)


async def test_answers_do_not_wait_for_a_shadow_that_hangs(watched: Watched) -> None:
    watched.pipeline.gates["r2"].clear()
    where = searcher(watched)
    for _ in range(10):
        assert (await ask(where)).release == "r1"
    await until(lambda: watched.pipeline.at_once == MOST)
    assert watched.admission.in_flight == 0
    assert where.statistics.answered.count == 10
    # Nor do places.
    watched.pipeline.gates["r1"].clear()
    many = [asyncio.create_task(ask(where)) for _ in range(watched.admission.limit.value)]
    await until(lambda: watched.pipeline.asked["r1"] == 10 + len(many))
    watched.pipeline.gates["r1"].set()
    assert [response.release for response in await asyncio.gather(*many)] == ["r1"] * len(many)


@pytest.mark.parametrize("error", [GONE, ContractMismatch("its model is not there"), KeyError("a defect")])
async def test_answers_are_the_same_whatever_a_shadow_raises(watched: Watched, error: Exception) -> None:
    watched.pipeline.errors["r2"] = error
    where = searcher(watched)
    for number in range(1, 6):
        assert (await ask(where)).release == "r1"
        await watched.idle()
        assert watched.seen().candidate.failed == number
    assert where.statistics.failed.count == 0


async def test_a_canary_serves_its_callers_and_the_others_notice_nothing_when_it_fails(watched: Watched) -> None:
    watched.admission.traffic = CANARY
    where = searcher(watched)
    assert [(await ask(where, caller)).release for caller in ("canary", "somebody")] == ["r2", "r1"]
    await watched.idle()
    watched.pipeline.errors["r2"] = GONE
    with pytest.raises(DependencyUnavailable):
        await ask(where, "canary")
    assert (await ask(where)).release == "r1"
    seen = watched.seen()
    assert (seen.candidate.requests, seen.candidate.failed, seen.compared) == (2, 1, 1)
    assert (seen.active.requests, seen.active.failed) == (2, 0)


async def test_where_one_is_searched_at_a_time_copies_are_run_between(watched: Watched) -> None:
    watched.admission.limit = Limit(1, tolerance=3.0)
    where = searcher(watched)
    for _ in range(3):
        await ask(where)
        await watched.idle()
    assert (watched.seen().compared, watched.seen().dropped) == (3, 0)


async def test_a_copy_begins_when_the_answer_is_encoded(watched: Watched) -> None:
    began = []

    def encode(_: Answer) -> SearchResponse:
        began.append(len(watched.shadows._running))
        return SearchResponse()

    await searcher(watched).search(QUERY, "somebody", Deadline.after(10), encode)
    assert began == [0]
    await watched.idle()
    assert watched.seen().compared == 1


async def test_a_canary_that_is_refused_fails_its_callers_and_that_is_counted(watched: Watched) -> None:
    watched.admission.traffic = replace(CANARY, refusals={"r2": ContractMismatch("the model file has changed")})
    where = searcher(watched)
    with pytest.raises(ContractMismatch, match="the model file has changed"):
        await ask(where, "canary")
    assert (await ask(where)).release == "r1"
    seen = watched.seen()
    assert (seen.candidate.requests, seen.candidate.failed, seen.active.failed) == (1, 1, 0)


async def test_what_is_away_before_the_chain_begins_is_counted_for_who_would_have_served(watched: Watched) -> None:
    def away() -> None:
        raise DependencyUnavailable("Milvus is away")

    watched.admission.traffic = CANARY
    where = searcher(watched, away)
    for caller in ("canary", "somebody", "somebody"):
        with pytest.raises(DependencyUnavailable):
            await ask(where, caller)
    assert (watched.seen().candidate.failed, watched.seen().active.failed) == (1, 2)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What is free is freed because nothing refers to it any more."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
async def test_a_failed_search_is_kept_by_nobody(watched: Watched) -> None:
    """Its traceback holds the photo."""
    watched.admission.traffic = CANARY
    errors = [ContractMismatch("its model is not there")]
    error = weakref.ref(errors[0])

    def fail() -> None:
        raise errors.pop()

    with pytest.raises(ContractMismatch):
        await ask(searcher(watched, fail), "canary")
    assert watched.seen().candidate.failed == 1
    assert error() is None


async def test_who_gives_up_is_offered_as_that(watched: Watched) -> None:
    watched.admission.traffic = CANARY
    watched.pipeline.gates["r2"].clear()
    asking = asyncio.create_task(ask(searcher(watched), "canary"))
    await until(lambda: watched.pipeline.at_once == 1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert watched.seen() == Observations()


async def test_offering_takes_next_to_no_time(watched: Watched) -> None:
    watched.pipeline.gates["r2"].clear()
    began = time.perf_counter()
    for _ in range(1000):
        watched.offer()
    assert time.perf_counter() - began < 0.5
