"""When calls are not made, and when they are made again."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable

import pytest

from semblance.orchestrator import dependency as breaker
from semblance.orchestrator.dependency import FAILURES, Dependency, guarded
from semblance.orchestrator.errors import (
    ContractMismatch,
    DeadlineExceeded,
    DependencyUnavailable,
    InvalidArgument,
    Overloaded,
    SemblanceError,
)
from tests.integration.service.world import until

GONE = DependencyUnavailable("the part does not answer")


class Part:
    """What is depended on; `error` is what it answers with."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.hangs = self.answers = False
        self.calls = self.probes = self.thorough = 0

    async def probe(self, timeout: float, failed: bool) -> None:
        self.probes += 1
        self.thorough += failed
        # It answers questions, whatever becomes of calls.
        if failed or not self.answers:
            await self._answer()

    async def call(self, number: int) -> int:
        self.calls += 1
        await self._answer()
        return number

    async def other(self) -> None:
        """Succeeds whatever becomes of `call`."""

    async def _answer(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            # Each call fails with an error of its own.
            raise type(self.error)(*self.error.args)


class Watched:
    def __init__(self) -> None:
        self.part = Part()
        self.changes: list[bool] = []
        self.dependency = Dependency(
            "the part", self.part.probe, lambda: self.changes.append(self.dependency.available)
        )
        self.port = guarded(self.part, self.dependency)


@pytest.fixture
async def watched(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    """Probed only where a call has failed."""
    monkeypatch.setattr(breaker, "PROBE_SECONDS", 1000.0)
    monkeypatch.setattr(breaker, "FIRST_RETRY", 0.001)
    made = Watched()
    watching = asyncio.create_task(made.dependency.watch())
    await asyncio.sleep(0)
    yield made
    watching.cancel()
    await asyncio.wait({watching})


async def fail(watched: Watched, error: Exception, times: int) -> None:
    """Calls that nothing comes between, probes least of all."""
    watched.part.error = error
    for _ in range(times):
        with pytest.raises(type(error)):
            await watched.port.call(1)


async def test_calls_go_through_and_answer(watched: Watched) -> None:
    assert await watched.port.call(3) == 3
    assert watched.dependency.available


async def test_failures_in_a_row_stop_calls_and_a_probe_lets_them_through_again(watched: Watched) -> None:
    await fail(watched, GONE, FAILURES)
    assert watched.changes == [False]
    with pytest.raises(DependencyUnavailable, match=r"does not answer; it is tried again every 2 s") as raised:
        await watched.port.call(1)
    assert 0.5 <= raised.value.retry_delay <= 5
    assert watched.part.calls == FAILURES
    watched.part.error = None
    await until(lambda: watched.dependency.available)
    assert watched.changes == [False, True]
    assert await watched.port.call(3) == 3


async def test_a_success_between_them_counts(watched: Watched) -> None:
    for _ in range(3):
        await fail(watched, GONE, FAILURES - 1)
        watched.part.error = None
        await watched.port.call(1)
    assert watched.dependency.available


async def test_failures_that_tell_nothing_of_it_are_not_counted(watched: Watched) -> None:
    port = guarded(watched.part, watched.dependency, lambda number: number != 7)
    watched.part.error = GONE
    for _ in range(2 * FAILURES):
        with pytest.raises(DependencyUnavailable):
            await port.call(7)
    assert watched.dependency.available
    assert not watched.part.probes
    for _ in range(FAILURES):
        with pytest.raises(DependencyUnavailable):
            await port.call(1)
    assert watched.changes == [False]
    calls = watched.part.calls
    with pytest.raises(DependencyUnavailable, match="it is tried again"):
        await port.call(7)
    assert watched.part.calls == calls


async def test_a_success_that_tells_nothing_of_it_forgives_nothing(watched: Watched) -> None:
    port = guarded(watched.part, watched.dependency, lambda number: number != 7)
    await fail(watched, GONE, FAILURES - 1)
    watched.part.error = None
    assert await port.call(7) == 7
    await fail(watched, GONE, 1)
    assert watched.changes == [False]


@pytest.mark.parametrize("error", [InvalidArgument("no such filter"), KeyError("a defect")])
async def test_an_answer_that_is_an_error_is_an_answer(watched: Watched, error: Exception) -> None:
    await fail(watched, error, 2 * FAILURES)
    assert watched.dependency.available
    assert not watched.part.probes


async def test_one_kind_of_call_that_fails_is_enough(watched: Watched) -> None:
    for _ in range(FAILURES - 1):
        await fail(watched, GONE, 1)
        await watched.port.other()
    assert watched.dependency.available
    await fail(watched, GONE, 1)
    assert not watched.dependency.available


async def test_those_who_shared_a_call_that_failed_count_as_one(watched: Watched) -> None:
    shared = DependencyUnavailable("the part does not answer")
    for _ in range(2 * FAILURES):
        with pytest.raises(DependencyUnavailable), watched.dependency.calling():
            raise shared
    assert watched.dependency.available


@pytest.mark.parametrize("error", [GONE, ContractMismatch("it gave no output")])
async def test_what_answers_questions_and_fails_at_its_work_is_unavailable(watched: Watched, error: Exception) -> None:
    watched.part.answers = True
    await fail(watched, error, 1)
    await until(lambda: not watched.dependency.available)
    assert watched.part.thorough == watched.part.probes
    watched.part.error = None
    await until(lambda: watched.dependency.available)
    thorough = watched.part.thorough
    watched.dependency._suspected.set()
    await until(lambda: watched.part.probes > thorough)
    assert watched.part.thorough == thorough


async def test_what_has_much_to_do_works(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "PROBE_SECONDS", 0.001)
    watched.part.error = Overloaded("its queue is full")
    watched.dependency._suspected.set()
    await until(lambda: watched.part.probes > 2 * FAILURES)
    assert watched.changes == []


async def test_a_passed_deadline_only_has_it_probed(watched: Watched) -> None:
    with pytest.raises(DeadlineExceeded), watched.dependency.calling():
        raise DeadlineExceeded("too slow")
    await until(lambda: watched.part.probes == 1)
    assert watched.dependency.available


@pytest.mark.parametrize("error", [GONE, ContractMismatch("the collection is not there"), ValueError("a defect")])
async def test_without_traffic_probes_find_out(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(breaker, "PROBE_SECONDS", 0.001)
    watched.dependency._suspected.set()
    watched.part.error = error
    await until(lambda: not watched.dependency.available)
    watched.part.error = None
    await until(lambda: watched.dependency.available)


async def test_what_answers_wrongly_is_unavailable_but_says_itself_what_is_wrong(watched: Watched) -> None:
    watched.part.error = ContractMismatch("the collection is not there")
    watched.dependency._suspected.set()
    await until(lambda: not watched.dependency.available)
    with pytest.raises(ContractMismatch, match="the collection is not there"):
        await watched.port.call(1)


async def test_what_hangs_is_unavailable(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "PROBE_TIMEOUT", 0.01)
    watched.part.hangs = True
    watched.dependency._suspected.set()
    await until(lambda: not watched.dependency.available)
    with pytest.raises(DependencyUnavailable, match="did not answer within"):
        await watched.port.call(1)
    watched.part.hangs = False
    await until(lambda: watched.dependency.available)


async def test_the_longer_it_is_away_the_less_often_it_is_probed(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: 1.0)
    pauses: list[float] = []
    sleep: Callable[[float], object] = asyncio.sleep

    async def slept(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)  # type: ignore[misc]

    monkeypatch.setattr(breaker, "FIRST_RETRY", 0.1)
    monkeypatch.setattr(asyncio, "sleep", slept)
    error: SemblanceError = GONE
    watched.part.error = error
    watched.dependency._suspected.set()
    while len(pauses) < 2000:
        await sleep(0)  # type: ignore[misc]
    assert pauses[:6] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0])
    assert max(pauses) == breaker.LAST_RETRY
