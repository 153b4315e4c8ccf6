"""Which answers are suspicious, and that keeping them holds up nothing and no more than so many."""

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import cast

import pytest

from semblance.orchestrator.admission import Admission, Waiter
from semblance.orchestrator.box import Box
from semblance.orchestrator.errors import DependencyUnavailable
from semblance.orchestrator.feedback import MAX_HITS, Kind, Source, Verdict
from semblance.orchestrator.filter import Comparison, Operator
from semblance.orchestrator.limit import Limit
from semblance.orchestrator.measure import Measure
from semblance.orchestrator.pipeline import Answer, Query, Selection
from semblance.orchestrator.queue import FairQueue
from semblance.orchestrator.suspects import MOST, MOST_BYTES, Outcome, Suspects, Suspicion, suspicious
from semblance.orchestrator.verdicts import Draft, Verdicts
from tests.integration.service.world import until
from tests.unit.orchestrator.answers import BOX, answer, hits

QUERY = Query(b"photo", Selection(), 10, -math.inf, None, False)
EVERY = Suspicion(share=1.0, similarity=0.5, margin=0.05)
OTHER = Box(20, 20, 30, 30)
CERTAIN = hits(("a", 0.9), ("b", 0.6))
UNLIKE = hits(("a", 0.4), ("b", 0.1))
LIKE_ANOTHER = hits(("a", 0.9), ("b", 0.86))


class FakeVerdicts:
    """Keeps drafts while its gate is open; the second of the same is not new."""

    def __init__(self) -> None:
        self.kept: list[Draft] = []
        self.failures: list[Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def give(self, draft: Draft) -> tuple[object, bool]:
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop()
        new = draft not in self.kept
        self.kept += [draft] * new
        return draft, new


@pytest.fixture
def verdicts() -> FakeVerdicts:
    return FakeVerdicts()


@pytest.fixture
def admission() -> Admission:
    search, ingest, lookup = (FairQueue[Waiter](4, 2**20) for _ in range(3))
    return Admission(Limit(4, 2.0), search=search, ingest=ingest, lookup=lookup, ingests=1, lookups=1)


@pytest.fixture
async def suspects(verdicts: FakeVerdicts, admission: Admission) -> AsyncIterator[Suspects]:
    made = Suspects(cast(Verdicts, verdicts), admission, EVERY)
    task = asyncio.create_task(made.store_forever())
    yield made
    task.cancel()


def kind_of(found: Answer, query: Query = QUERY, suspicion: Suspicion = EVERY) -> Kind | None:
    why = suspicious(query, found, suspicion)
    return why[0].kind if why else None


def test_an_answer_is_suspicious_where_nothing_fits_or_two_do() -> None:
    assert kind_of(answer((BOX, CERTAIN))) is None
    assert kind_of(answer((BOX, UNLIKE))) is Kind.LOW_SIMILARITY
    assert kind_of(answer((BOX, LIKE_ANOTHER))) is Kind.NARROW_MARGIN
    assert kind_of(answer((BOX, CERTAIN), detected=False)) is Kind.NOTHING_DETECTED
    assert kind_of(answer((BOX, ()))) is Kind.LOW_SIMILARITY


def test_the_limits_are_exact() -> None:
    assert kind_of(answer((BOX, hits(("a", 0.5))))) is None
    narrow = replace(EVERY, margin=0.25)
    assert kind_of(answer((BOX, hits(("a", 0.75), ("b", 0.5)))), suspicion=narrow) is None
    assert kind_of(answer((BOX, hits(("a", 0.75), ("b", 0.5001)))), suspicion=narrow) is Kind.NARROW_MARGIN


def test_one_hit_has_no_margin() -> None:
    assert kind_of(answer((BOX, hits(("a", 0.9))))) is None


def test_the_worst_object_is_what_it_is_about() -> None:
    found = suspicious(QUERY, answer((BOX, LIKE_ANOTHER), (OTHER, UNLIKE)), EVERY)
    assert found is not None
    verdict, about = found
    assert verdict == Verdict(Kind.LOW_SIMILARITY)
    assert about is not None
    assert (about.box, about.source, about.class_name) == (OTHER, Source.DETECTED, "thing")
    assert [hit.item_id for hit in about.hits] == ["a", "b"]
    missing = suspicious(QUERY, answer((BOX, CERTAIN), detected=False), EVERY)
    assert missing == (Verdict(Kind.NOTHING_DETECTED), None)


def test_a_filter_says_nothing_of_the_models() -> None:
    filtered = replace(QUERY, where=Comparison("price", Operator.LESS, (1,)))
    assert kind_of(answer((BOX, UNLIKE)), filtered) is None
    assert kind_of(answer((BOX, CERTAIN), detected=False), filtered) is Kind.NOTHING_DETECTED


@pytest.mark.parametrize("asked", [{"measure": Measure.HAMMING}, {"min_similarity": 0.9}])
def test_another_scale_or_bar_says_nothing_of_the_models(asked: dict[str, object]) -> None:
    assert kind_of(answer((BOX, UNLIKE)), replace(QUERY, **asked)) is None  # type: ignore[arg-type]


def test_a_score_above_the_default_may_leave_out_every_object() -> None:
    nothing = answer((BOX, CERTAIN), detected=False)
    assert kind_of(nothing, replace(QUERY, selection=Selection(min_score=0.99))) is None
    assert kind_of(nothing, replace(QUERY, selection=Selection(min_score=0.1))) is Kind.NOTHING_DETECTED


def test_so_many_hits_are_kept() -> None:
    many = hits(*((f"item-{number}", 0.1) for number in range(MAX_HITS + 1)))
    found = suspicious(QUERY, answer((BOX, many)), EVERY)
    assert found is not None
    assert found[1] is not None
    assert len(found[1].hits) == MAX_HITS


async def test_a_suspicious_answer_is_kept_once(suspects: Suspects, verdicts: FakeVerdicts) -> None:
    suspects.offer(QUERY, "shop", answer((BOX, UNLIKE)))
    suspects.offer(QUERY, "shop", answer((BOX, CERTAIN)))
    suspects.offer(QUERY, "shop", answer((BOX, UNLIKE)))
    await until(lambda: suspects.outcomes.total() == 2)
    [kept] = verdicts.kept
    assert (kept.caller, kept.release_id, kept.photo) == ("shop", "r1", b"photo")
    assert suspects.outcomes == {Outcome.STORED: 1, Outcome.KNOWN: 1}


async def test_one_that_fails_is_counted_and_ends_nothing(suspects: Suspects, verdicts: FakeVerdicts) -> None:
    verdicts.failures = [RuntimeError("a bug"), DependencyUnavailable("down")]
    for caller in ("a", "b", "c"):
        suspects.offer(QUERY, caller, answer((BOX, UNLIKE)))
    await until(lambda: suspects.outcomes.total() == 3)
    assert suspects.outcomes == {Outcome.FAILED: 2, Outcome.STORED: 1}
    assert [draft.caller for draft in verdicts.kept] == ["c"]


async def test_what_there_is_no_room_for_is_dropped(suspects: Suspects, verdicts: FakeVerdicts) -> None:
    verdicts.gate.clear()
    for number in range(MOST + 20):
        suspects.offer(QUERY, f"caller {number}", answer((BOX, UNLIKE)))
    assert suspects.outcomes == {Outcome.DROPPED: 20}
    verdicts.gate.set()
    await until(lambda: len(verdicts.kept) == MOST)


async def test_photos_that_wait_have_so_many_bytes_together(suspects: Suspects, verdicts: FakeVerdicts) -> None:
    verdicts.gate.clear()
    large = replace(QUERY, image=bytes(MOST_BYTES // 2))
    for number in range(3):
        suspects.offer(large, f"caller {number}", answer((BOX, UNLIKE)))
    assert suspects.outcomes == {Outcome.DROPPED: 1}
    verdicts.gate.set()
    await until(lambda: suspects.outcomes[Outcome.STORED] == 2)
    # There is room again.
    suspects.offer(large, "another", answer((BOX, UNLIKE)))
    await until(lambda: suspects.outcomes[Outcome.STORED] == 3)


async def test_searches_that_need_the_room_come_first(
    suspects: Suspects, verdicts: FakeVerdicts, admission: Admission
) -> None:
    admission.search.in_flight = int(admission.limit.value)
    suspects.offer(QUERY, "shop", answer((BOX, UNLIKE)))
    assert suspects.outcomes == {Outcome.DROPPED: 1}
    assert verdicts.kept == []


async def test_a_share_of_them_is_kept(verdicts: FakeVerdicts, admission: Admission) -> None:
    for share in (0.0, 0.25):
        suspects = Suspects(cast(Verdicts, verdicts), admission, replace(EVERY, share=share))
        suspects._random.seed(1)
        # Nobody stores them: what does not fit is dropped, and counted.
        for _ in range(4000):
            suspects.offer(QUERY, "shop", answer((BOX, UNLIKE)))
        offered = suspects.outcomes[Outcome.DROPPED] + suspects._waiting.qsize()
        assert offered == pytest.approx(4000 * share, rel=0.1)
