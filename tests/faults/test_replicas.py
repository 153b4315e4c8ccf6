"""Two orchestrators and two Tritons, each on an address of its own, serve one catalogue; one of each is killed."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass

import pytest

from semblance.benchmarks import statistics
from semblance.client import AsyncClient
from semblance.client._channel import options
from tests.faults.kills import EARLIEST, LATEST, PATIENCE, Checker, Loop, checker, load_running, until_right
from tests.faults.ledger import photo
from tests.faults.load import CALL_TIMEOUT, Load
from tests.faults.parts import Service, pairs
from tests.servers import empty_database

SEED = 1
# Of each caller between two calls, in seconds, once something was killed: so that what is restarted gets a share of the
# CPU. Until then nobody rests, so that many calls are in flight.
REST = 0.3
POLL = 0.05
# The keeper is among them each time that an orchestrator is: the other one has had to take over before.
KILLED = (
    ("orchestrator-1",),
    ("triton-1",),
    ("triton-2",),
    ("orchestrator-2",),
    ("orchestrator-1", "triton-2"),
)

# What `Load` counts where nothing fails.
SUCCESSES = ("acknowledged", "searches")
STREAMED = ("put on a stream", "found on a stream")

pytestmark = [pytest.mark.standalone, pytest.mark.timeout(600)]


@dataclass(frozen=True, slots=True)
class World:
    """`both` has the addresses of both orchestrators and tries again; each of `bare`, by orchestrator, neither."""

    service: Service
    loop: Loop
    both: Load
    bare: dict[str, Load]
    checkers: list[Checker]

    @property
    def loads(self) -> list[Load]:
        return [self.both, *self.bare.values()]

    @property
    def addresses(self) -> dict[str, str]:
        """By part, where it tells how much it has done."""
        orchestrators = self.service.address.removeprefix("ipv4:").split(",")
        return {
            f"{name}-{number}": address
            for name, addresses in (("orchestrator", orchestrators), ("triton", self.service.triton.split(",")))
            for number, address in enumerate(addresses, 1)
        }

    def done(self, part: str) -> int:
        """Searches of an orchestrator, or detections of a Triton, since it was started."""
        times = statistics.read(self.addresses[part]).get("search" if part in self.bare else "detector")
        # A Triton has no model until the keeper has it load one.
        return times.count if times else 0

    def shares(self) -> bool:
        """Whether the client with both addresses calls both orchestrators, while nobody else calls any."""
        before = {name: self.done(name) for name in self.bare}
        for _ in range(4):
            self.loop.run(self.both.client.search(photo(SEED, "any", 0)))
        return all(self.done(name) > count for name, count in before.items())


@pytest.fixture(scope="module")
def world(postgresql: str, milvus_standalone: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    loop = Loop()
    try:
        with pairs(tmp_path_factory.mktemp("replicas"), empty_database(postgresql), milvus_standalone) as service:
            stack = AsyncExitStack()
            yield loop.run(connected(service, loop, stack))
            loop.run(stack.aclose())
    finally:
        loop.close()


async def connected(service: Service, loop: Loop, stack: AsyncExitStack) -> World:
    client = await stack.enter_async_context(AsyncClient(service.address, timeout=CALL_TIMEOUT))
    both = Load(client, SEED, searchers=4, streams=True, name="of-both")
    bare = {}
    for number, address in enumerate(service.address.removeprefix("ipv4:").split(","), 1):
        name = f"orchestrator-{number}"
        client = await stack.enter_async_context(without_retries(address))
        bare[name] = Load(client, SEED, writers=1, searchers=1, name=f"of-{name}")
    checkers = [checker(service, load, stack) for load in (both, *bare.values())]
    return World(service, loop, both, bare, checkers)


def without_retries(address: str) -> AsyncClient:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("semblance.client._aio.options", lambda *given: [*options(*given), ("grpc.enable_retries", 0)])
        return AsyncClient(address, timeout=CALL_TIMEOUT)


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit
        time.sleep(POLL)


@pytest.mark.parametrize("killed", KILLED, ids="+".join)
def test_callers_of_one_see_it_die_and_callers_of_both_see_nothing(world: World, killed: tuple[str, ...]) -> None:
    parts = [world.service.part(name) for name in killed]
    survivors = [load for name, load in world.bare.items() if name not in killed]
    for load in world.loads:
        load.counts.clear()
        load.slowest = load.rest = 0.0
    until(world.shares)
    with ExitStack() as stack:
        for load in world.loads:
            stack.enter_context(load_running(load, world.loop))
        until(lambda: set(world.both.counts) >= {*SUCCESSES, *STREAMED})
        time.sleep(random.Random(f"{SEED} {killed}").uniform(EARLIEST, LATEST))
        died = time.monotonic()
        for part in parts:
            part.kill()
        before = [load.counts.total() for load in survivors]
        until(lambda: all(load.counts.total() > count + 20 for load, count in zip(survivors, before, strict=True)))
        for load in world.loads:
            load.rest = REST
        for part in parts:
            part.start()
        back = time.monotonic()
        until(lambda: all(world.done(name) > 5 for name in killed))
        used = time.monotonic()
    until(world.shares)
    complaints = [each for found in world.checkers for each in until_right(found, world.loop, back + PATIENCE)]
    print(
        f"{' and '.join(killed)}: back {back - died:.1f} s after the kill, used {used - died:.1f} s after", flush=True
    )
    for load in world.loads:
        last = f", the last failure {load.failed_at - died:.1f} s after" if load.failed_at > died else ""
        print(f"  {load.name}: {dict(load.counts)}, the slowest call took {load.slowest:.1f} s{last}", flush=True)
    assert complaints == []
    assert [wrong for load in world.loads for wrong in load.wrong] == []
    assert world.both.counts.keys() == {*SUCCESSES, *STREAMED}
    for name, load in world.bare.items():
        assert load.counts.keys() <= {*SUCCESSES, *(["UnavailableError"] if name in killed else [])}
