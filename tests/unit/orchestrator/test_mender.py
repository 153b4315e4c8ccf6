"""What is unsettled is indexed, at a pace that leaves the models to searches."""

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from semblance.orchestrator import mender
from semblance.orchestrator.errors import DependencyUnavailable, NotFound, SemblanceError
from semblance.orchestrator.mender import AT_MODELS, IN_FLIGHT, Mender, Pace
from semblance.orchestrator.release import Release
from tests.integration.service.world import until
from tests.unit.orchestrator.stores import GREEN, RED, RELEASE, Stores

DOWN = DependencyUnavailable("down")


@pytest.fixture
async def stores() -> AsyncIterator[Stores]:
    made = Stores()
    await made.open()
    yield made
    made.threads.close()


def unhurried(stores: Stores, release: Release = RELEASE, seconds: float = 0.0) -> Mender:
    """A mender that has the models for itself."""
    return Mender(stores.catalog, stores.metadata, release, Pace(1.0, lambda: False), seconds)


@asynccontextmanager
async def mending(stores: Stores, release: Release = RELEASE) -> AsyncIterator[Mender]:
    made = unhurried(stores, release)
    task = asyncio.create_task(made.run(poll=0.001))
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.wait({task})


async def leave_unsettled(stores: Stores, *item_ids: str, image: bytes = RED) -> None:
    """Puts items that do not reach the index."""
    for number, item_id in enumerate(item_ids):
        stores.index.fail(DOWN)
        with suppress(SemblanceError):
            await stores.put(item_id, image, n=number)


async def test_mending_fills_another_collection_with_everything(stores: Stores) -> None:
    for number in range(5):
        await stores.put(f"i{number}", RED, GREEN, n=number)
    expected = stores.indexed()
    release = await stores.registry.replace_collection("other")
    await stores.index.create(release, 1)
    while await stores.metadata.enlist("other"):
        pass
    async with mending(stores, release):
        await until(lambda: not stores.unsettled("other"))
    assert stores.indexed("other") == expected == stores.true()


async def test_the_mender_of_a_replaced_collection_takes_no_item_from_the_next(stores: Stores) -> None:
    for number in range(5):
        await stores.put(f"i{number}", RED, n=number)
    await stores.metadata.unsettle(RELEASE.collection, [f"i{number}" for number in range(5)])
    await stores.registry.replace_collection("other")
    await stores.metadata.enlist("other")
    # What was enlisted may have this very moment.
    moment = datetime.now(UTC) + timedelta(microseconds=1)
    stores.models.requests.clear()
    async with mending(stores):
        # The detector's and the embedder's for each item, and more than one round of them.
        await until(lambda: len(stores.models.requests) >= 30)
    assert await stores.metadata.count_unsettled("other", moment) == 5
    assert stores.unsettled("other") == [f"i{number}" for number in range(5)]


async def test_the_mender_goes_on_whatever_one_item_does(stores: Stores) -> None:
    await leave_unsettled(stores, "a", "b")
    stores.index.fail(KeyError("a defect"))
    async with mending(stores):
        await until(lambda: not stores.unsettled())
    assert stores.indexed() == stores.true()
    assert len(stores.indexed()) == 2


async def test_what_can_not_be_mended_keeps_nothing_from_it(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mender, "BATCH", 2)
    await leave_unsettled(stores, "a", "b")
    await leave_unsettled(stores, "c", image=GREEN)
    for lost in [image_id for image_id, data in stores.images.images.items() if data == RED]:
        del stores.images.images[lost]
    async with mending(stores):
        await until(lambda: "c" not in stores.unsettled())
    assert set(stores.unsettled()) == {"a", "b"}


async def test_few_mends_are_at_the_models_and_more_wait_for_the_index(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    await leave_unsettled(stores, *(f"i{number}" for number in range(IN_FLIGHT + 4)))
    at = {"models": 0, "index": 0}
    most = dict(at)
    limits = {"models": AT_MODELS, "index": IN_FLIGHT}
    all_there = {name: asyncio.Event() for name in limits}

    def counted(name: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any) -> Any:
            at[name] += 1
            most[name] = max(most[name], at[name])
            if at[name] == limits[name]:
                all_there[name].set()
            try:
                await all_there[name].wait()
                # Whoever else is let in comes meanwhile.
                await stores.threads.run(int)
                return await method(*arguments)
            finally:
                at[name] -= 1

        return call

    monkeypatch.setattr(stores.models, "infer", counted("models", stores.models.infer))
    monkeypatch.setattr(stores.index, "upsert", counted("index", stores.index.upsert))
    async with mending(stores):
        await until(lambda: not stores.unsettled())
    assert most == limits


async def test_what_is_merely_on_its_way_is_left_alone(stores: Stores) -> None:
    await leave_unsettled(stores, "a")
    assert not await unhurried(stores, seconds=60).round()
    assert stores.unsettled() == ["a"]
    assert await unhurried(stores).round()
    assert stores.unsettled() == []


async def test_a_problem_is_told_until_nothing_is_unsettled(stores: Stores) -> None:
    made = unhurried(stores)
    await leave_unsettled(stores, "a")
    kept = dict(stores.images.images)
    stores.images.images.clear()
    assert not await made.round()
    assert "item 'a' can't be indexed: there is no image" in made.problem
    stores.images.images.update(kept)
    assert await made.round()
    assert not await made.round()
    assert made.problem == ""


async def test_a_defect_is_a_problem_that_the_log_explains(stores: Stores, caplog: pytest.LogCaptureFixture) -> None:
    made = unhurried(stores)
    await leave_unsettled(stores, "a")
    stores.models.fail(KeyError("a defect"))
    assert not await made.round()
    assert made.problem == "item 'a' can't be indexed; the keeper's log says why"
    assert "a defect" in caplog.text


async def test_a_metadata_store_that_does_not_answer_is_asked_again(stores: Stores) -> None:
    await leave_unsettled(stores, "a")
    stores.metadata.fail(DOWN)
    async with mending(stores):
        await until(lambda: not stores.unsettled())
    assert stores.indexed() == stores.true()


async def test_what_does_not_answer_is_said_once_and_not_tried_with_every_item(
    stores: Stores, caplog: pytest.LogCaptureFixture
) -> None:
    made = unhurried(stores)
    await leave_unsettled(stores, *(f"i{number}" for number in range(40)))
    stores.models.fail(*[DOWN] * 1000)
    for _ in range(3):
        before = len(stores.models._failures)
        assert not await made.round()
        assert before - len(stores.models._failures) <= AT_MODELS
    assert [each.message for each in caplog.records if each.name == mender.__name__] == [
        f"items can't be indexed in {RELEASE.collection}, and are tried again: down"
    ]
    stores.models.mend()
    while await made.round():
        pass
    assert stores.unsettled() == []


async def test_the_rate_is_that_of_the_last_items(stores: Stores) -> None:
    made = unhurried(stores)
    assert made.rate == 0
    await leave_unsettled(stores, *(f"i{number}" for number in range(5)))
    began = asyncio.get_running_loop().time()
    await made.round()
    assert made.rate >= 4 / (asyncio.get_running_loop().time() - began)


class Clock:
    """Time that passes only while everybody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._number = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        waiting = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._number), waiting))
        await waiting

    async def run_until(self, moment: float) -> None:
        await breathe()
        while self._sleepers and self._sleepers[0][0] <= moment:
            at, _, waiting = heapq.heappop(self._sleepers)
            self.now = max(self.now, at)
            if not waiting.done():
                waiting.set_result(None)
            await breathe()
        self.now = moment


YIELD = asyncio.sleep


async def breathe() -> None:
    """Everybody does what can be done now."""
    for _ in range(10):
        await YIELD(0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(mender, "time", made)
    monkeypatch.setattr(asyncio, "sleep", made.sleep)
    return made


class Workers:
    """Who is at the models for `seconds`, over and over; `at_work` is how long somebody was, `done` how often."""

    def __init__(self, clock: Clock, pace: Pace, number: int, seconds: float = 0.2) -> None:
        self.at_work = 0.0
        self.done = self.most = 0
        self._clock, self._pace, self._seconds = clock, pace, seconds
        self._there = 0
        self._since = 0.0
        self._tasks = [asyncio.create_task(self._work()) for _ in range(number)]

    async def _work(self) -> None:
        while True:
            async with self._pace.turn() as described:
                if not self._there:
                    self._since = self._clock.now
                self._there += 1
                self.most = max(self.most, self._there)
                await self._clock.sleep(self._seconds)
                self.done += 1
                self._there -= 1
                if not self._there:
                    self.at_work += self._clock.now - self._since
                described()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)


SPAN = 60.0


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
async def test_while_searches_are_served_one_has_its_share_of_the_models_time(clock: Clock, share: float) -> None:
    workers = Workers(clock, Pace(share, lambda: True), 1)
    await clock.run_until(clock.now + SPAN)
    await workers.close()
    assert workers.at_work / SPAN == pytest.approx(share, rel=0.05)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
async def test_many_have_no_more_of_the_models_time_than_one(clock: Clock, share: float) -> None:
    workers = Workers(clock, Pace(share, lambda: True), 2 * AT_MODELS)
    await clock.run_until(clock.now + SPAN)
    await workers.close()
    assert 0 < workers.at_work / SPAN <= share * 1.05
    assert workers.most <= AT_MODELS


async def test_a_whole_share_never_rests(clock: Clock) -> None:
    workers = Workers(clock, Pace(1.0, lambda: True), 1)
    await clock.run_until(clock.now + SPAN)
    await workers.close()
    assert workers.at_work / SPAN == pytest.approx(1, rel=0.01)


async def test_nobody_rests_while_no_searches_are_served(clock: Clock) -> None:
    workers = Workers(clock, Pace(0.1, lambda: False), 2 * AT_MODELS)
    await clock.run_until(clock.now + SPAN)
    await workers.close()
    assert workers.done == pytest.approx(AT_MODELS * SPAN / 0.2, rel=0.01)


async def test_the_quiet_time_is_no_debt_when_searches_come(clock: Clock) -> None:
    busy = False
    workers = Workers(clock, Pace(0.25, lambda: busy), 1)
    await clock.run_until(clock.now + SPAN)
    busy, workers.at_work = True, 0.0
    await clock.run_until(clock.now + SPAN)
    await workers.close()
    assert workers.at_work / SPAN == pytest.approx(0.25, rel=0.05)


async def test_a_rest_ends_when_searches_do(clock: Clock) -> None:
    busy = True
    workers = Workers(clock, Pace(0.01, lambda: busy), 1)
    await clock.run_until(clock.now + 10)
    assert workers.done == 1
    busy = False
    await clock.run_until(clock.now + 10)
    await workers.close()
    assert workers.done >= 49


async def test_who_waits_for_the_index_is_not_at_the_models(clock: Clock) -> None:
    pace = Pace(0.5, lambda: True)
    async with asyncio.timeout(10), pace.turn() as described, AsyncExitStack() as others:
        clock.now += 1
        described()
        described()
        clock.now += 1
        # It has rested for as long as it was there, and its place is another's.
        for _ in range(AT_MODELS):
            await others.enter_async_context(pace.turn())
        clock.now += 1
    assert await rest(clock, pace) == pytest.approx(AT_MODELS)


async def rest(clock: Clock, pace: Pace) -> float:
    """How many seconds the next one has to wait for its turn."""
    began = clock.now

    async def turn() -> float:
        async with pace.turn():
            return clock.now - began

    task = asyncio.create_task(turn())
    await clock.run_until(clock.now + 100)
    assert task.done(), "no place is left"
    return await task


async def test_who_is_cancelled_gives_his_place_back(clock: Clock) -> None:
    pace = Pace(0.5, lambda: True)
    async with pace.turn():
        clock.now += 1

    async def turn() -> None:
        async with pace.turn():
            raise AssertionError("nobody has rested for long enough")

    # Some have a place, and rest; the others wait for one.
    tasks = [asyncio.create_task(turn()) for _ in range(2 * AT_MODELS)]
    await clock.run_until(clock.now + 0.5)
    for task in tasks:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {asyncio.CancelledError}
    clock.now += 1
    async with asyncio.timeout(10), AsyncExitStack() as places:
        for _ in range(AT_MODELS):
            await places.enter_async_context(pace.turn())


@pytest.mark.parametrize("error", [NotFound("there is no image"), asyncio.CancelledError(), KeyError("a defect")])
async def test_a_turn_that_fails_counts_and_gives_its_place_back(clock: Clock, error: BaseException) -> None:
    pace = Pace(0.5, lambda: True)

    async def failing() -> None:
        async with pace.turn():
            clock.now += 1
            raise error

    for _ in range(AT_MODELS + 1):
        with pytest.raises(type(error)):
            await failing()
        assert await rest(clock, pace) == pytest.approx(1)
