"""Which of several inference servers a request goes to."""

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.orchestrator.adapters.transport import Mode
from semblance.orchestrator.adapters.triton import TritonServer
from semblance.orchestrator.dependency import FAILURES, Dependency
from semblance.orchestrator.errors import (
    ContractMismatch,
    DeadlineExceeded,
    DependencyUnavailable,
    Overloaded,
    SemblanceError,
)
from semblance.orchestrator.ports import InferenceServer
from semblance.orchestrator.release import ModelVersion
from semblance.orchestrator.replicas import Replica, Replicas
from semblance.orchestrator.testing import FakeBatch, FakeInferenceServer, example_release
from semblance.serving import ports

RELEASE = example_release()
PATIENCE = 10.0
GONE = DependencyUnavailable("it does not answer")


class Server(FakeInferenceServer):
    """Counts its batches."""

    def __init__(self, *models: ModelVersion) -> None:
        super().__init__(*models or (RELEASE.detector, RELEASE.embedder))
        self.open = self.given = 0

    @contextmanager
    def batch(self, model: ModelVersion, rows: int) -> Iterator[FakeBatch]:
        self.open += 1
        self.given += 1
        try:
            with super().batch(model, rows) as batch:
                yield batch
        finally:
            self.open -= 1


class Held(Server):
    """Answers when its gate is open; `both`: two requests wait there."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.both = asyncio.Event(), asyncio.Event()
        self.waiting = 0

    async def infer(self, model: ModelVersion, batch: NDArray[np.uint8], timeout: float) -> NDArray[np.float32]:
        self.waiting += 1
        if self.waiting == 2:
            self.both.set()
        await self.gate.wait()
        return await super().infer(model, batch, timeout)


def replicas(
    *servers: InferenceServer, counts: Callable[[ModelVersion], bool] = lambda _: True
) -> tuple[Replicas, list[Dependency]]:
    async def probe(timeout: float, failed: bool) -> None: ...

    dependencies = [Dependency(f"Triton {number}", probe, lambda: None) for number in range(len(servers))]
    pairs = zip(servers, dependencies, strict=True)
    return Replicas([Replica(*pair) for pair in pairs], counts), dependencies


async def infer(where: Replicas, rows: int = 1, model: ModelVersion = RELEASE.embedder) -> NDArray[np.float32]:
    with where.batch(model, rows) as batch:
        batch.pixels[:] = 200
        return await batch.infer(1.0)


async def test_one_is_used_for_everything() -> None:
    server = Server()
    where, _ = replicas(server)
    assert (await infer(where, 3)).shape == (3, 48)
    assert server.requests == [("embedder", 3)]
    assert server.open == 0


async def test_the_one_with_the_least_to_do_is_next() -> None:
    servers = [Server(), Server(), Server()]
    where, _ = replicas(*servers)
    with ExitStack() as stack:
        batches = [ExitStack() for _ in range(6)]
        of_the_second = []
        for each in batches:
            before = servers[1].open
            stack.enter_context(each).enter_context(where.batch(RELEASE.detector, 1))
            if servers[1].open > before:
                of_the_second.append(each)
        assert [server.open for server in servers] == [2, 2, 2]
        for each in of_the_second:
            each.close()
        assert [server.open for server in servers] == [2, 0, 2]
        for _ in range(2):
            stack.enter_context(where.batch(RELEASE.detector, 1))
        assert [server.open for server in servers] == [2, 2, 2]


async def test_those_with_nothing_to_do_get_some_of_each_model() -> None:
    servers = [Server(), Server()]
    where, _ = replicas(*servers)
    for _ in range(100):
        for model in (RELEASE.detector, RELEASE.embedder):
            with where.batch(model, 1) as batch:
                batch.pixels[:] = 200
                await batch.infer(1.0)
    for server in servers:
        assert {model for model, _ in server.requests} == {"detector", "embedder"}


async def test_a_bad_one_gets_nothing_until_it_answers() -> None:
    good, bad = Server(), Server()
    where, [_, dependency] = replicas(good, bad)
    bad.fail(*map(DependencyUnavailable, ["it does not answer"] * 100))
    outcomes = await asyncio.gather(*(infer(where) for _ in range(20)))
    assert all((outcome == outcomes[0]).all() for outcome in outcomes)
    assert len(good.requests) == 20
    before = bad.given
    assert where.available
    for _ in range(20):
        await infer(where)
    assert bad.given == before
    bad.mend()
    dependency._works()
    for _ in range(100):
        await infer(where)
    assert bad.given > before


@pytest.mark.parametrize("error", [GONE, ContractMismatch("the version is not there")])
@pytest.mark.parametrize("counts", [True, False])
async def test_what_one_fails_at_another_one_does(error: Exception, counts: bool) -> None:
    servers = [Server(), Server(), Server()]
    where, dependencies = replicas(*servers, counts=lambda _: counts)
    bad, other, last = servers
    dependencies[2].unavailable(GONE)
    other_is_busy = where._replicas[1]
    other_is_busy.outstanding += 1
    bad.fail(error)
    with where.batch(RELEASE.embedder, 2) as batch:
        batch.pixels[0], batch.pixels[1] = 10, 200
        answer = await batch.infer(1.0)
        assert (bad.open, other.open) == (0, 1)
    assert (bad.open, other.open, last.given) == (0, 0, 0)
    expected = Server()
    with expected.batch(RELEASE.embedder, 2) as alone:
        alone.pixels[0], alone.pixels[1] = 10, 200
        assert (answer == await alone.infer(1.0)).all()
    assert dependencies[0].failed_calls == counts


async def test_an_input_that_goes_to_another_server_holds_up_none_that_was_to_go_with_it() -> None:
    bad = TritonServer(f"127.0.0.1:{ports.free(1)[0]}", Mode.BYTES, slots=0)
    held = Held()
    where, [away, _] = replicas(bad, held)
    held_is_busy = where._replicas[1]
    held_is_busy.outstanding += 2
    with where.batch(RELEASE.embedder, 1) as early, where.batch(RELEASE.embedder, 1) as late:
        for batch in (early, late):
            batch.pixels[:] = 200
        answers = [asyncio.ensure_future(early.infer(PATIENCE))]
        await asyncio.sleep(0)
        away.unavailable(GONE)
        answers.append(asyncio.ensure_future(late.infer(PATIENCE)))
        async with asyncio.timeout(PATIENCE):
            # Neither has an answer yet.
            await held.both.wait()
        held.gate.set()
        for answer in answers:
            assert (await answer).shape == (1, 48)
    await bad.close()


@pytest.mark.parametrize(
    ("kinds", "raised"),
    [
        ((DependencyUnavailable, DependencyUnavailable), 1),
        ((DependencyUnavailable, ContractMismatch), 1),
        ((ContractMismatch, DependencyUnavailable), 0),
    ],
)
async def test_where_all_fail_the_error_that_tells_most_is_raised(
    kinds: Sequence[type[SemblanceError]], raised: int
) -> None:
    errors = [kind(str(number)) for number, kind in enumerate(kinds)]
    servers = [Server(), Server()]
    where, _ = replicas(*servers)
    where._replicas[1].outstanding += 1
    for server, error in zip(servers, errors, strict=True):
        server.fail(error)
    with pytest.raises(SemblanceError) as found:
        await infer(where)
    assert found.value is errors[raised]
    assert found.value.__cause__ is (errors[0] if raised else None)
    assert [server.given for server in servers] == [1, 1]
    # Of the second one nobody could be asked.
    assert where.failovers() == {"Triton 0": 1, "Triton 1": 0}


async def test_a_server_that_others_stand_in_for_is_told_of_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    bad, other = Server(), Server()
    where, _ = replicas(bad, other)
    where._replicas[1].outstanding += 1
    for _ in range(FAILURES):
        bad.fail(DependencyUnavailable("it does not answer"))
        await infer(where)
    assert where.failovers() == {"Triton 0": FAILURES, "Triton 1": 0}
    told = [record.getMessage() for record in caplog.records if record.name.endswith("replicas")]
    assert told == ["Triton 1 is asked for what Triton 0 failed at, 1 times since the start: it does not answer"]


async def test_an_error_that_was_handled_holds_no_pixels() -> None:
    server = Server()
    where, _ = replicas(server)
    server.fail(DependencyUnavailable("it does not answer"))
    gc.disable()
    try:
        with suppress(DependencyUnavailable), where.batch(RELEASE.embedder, 1) as batch:
            pixels = weakref.ref(batch.pixels)
            await batch.infer(1.0)
        del batch
        assert pixels() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("error", [Overloaded("its queue is full"), DeadlineExceeded("it took too long")])
async def test_what_is_no_fault_of_a_server_is_not_repeated(error: Exception) -> None:
    servers = [Server(), Server()]
    where, _ = replicas(*servers)
    for server in servers:
        server.fail(error)
    with pytest.raises(type(error)):
        await infer(where)
    assert sum(server.given for server in servers) == 1


@pytest.mark.parametrize("error", [GONE, ContractMismatch("the version is not there")])
async def test_what_a_model_that_does_not_count_fails_at_says_nothing_of_a_server(error: Exception) -> None:
    server = Server()
    where, [dependency] = replicas(server, counts=lambda model: model != RELEASE.embedder)
    for _ in range(2 * FAILURES):
        server.fail(error)
        with pytest.raises(type(error)):
            await infer(where)
    assert dependency.available
    assert server.open == 0
    for _ in range(FAILURES):
        server.fail(type(error)(str(error)))
        with pytest.raises(type(error)):
            await infer(where, model=RELEASE.detector)
    assert not dependency.available


async def test_a_server_that_is_away_gets_nothing_of_any_model() -> None:
    server = Server()
    where, [dependency] = replicas(server, counts=lambda model: False)
    dependency.unavailable(GONE)
    with pytest.raises(DependencyUnavailable, match="it is tried again"):
        await infer(where)
    assert server.requests == []


async def test_none_left_fails_at_once() -> None:
    servers = [Server(), Server()]
    where, _ = replicas(*servers)
    for server in servers:
        server.fail(*map(DependencyUnavailable, ["it does not answer"] * FAILURES))
    for _ in range(2 * FAILURES):
        with pytest.raises(DependencyUnavailable):
            await infer(where)
    assert not where.available
    with pytest.raises(DependencyUnavailable, match="it is tried again"):
        await infer(where)


async def test_a_release_is_checked_on_all_that_answer() -> None:
    good, other, away = Server(), Server(RELEASE.detector), Server()
    where, dependencies = replicas(good, other, away)
    away.fail(GONE)
    await where.check(RELEASE.detector, 1.0)
    assert [dependency.available for dependency in dependencies] == [True, True, False]
    with pytest.raises(ContractMismatch, match="there is no embedder"):
        await where.check(RELEASE.embedder, 1.0)
    assert await where.ready_versions("detector", 1.0) == (1,)
    assert await where.ready_versions("embedder", 1.0) == ()
    for server in (good, other, away):
        server.fail(GONE)
    with pytest.raises(DependencyUnavailable):
        await where.ready_versions("detector", 1.0)
    assert where.available
