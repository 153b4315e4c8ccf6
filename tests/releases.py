"""What is behind `ReleaseService`, in memory, and the service before it on a free port."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from threading import Thread

import grpc

from semblance.orchestrator.builds import Builds
from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.errors import NotFound, WrongState
from semblance.orchestrator.evaluation import Evaluation
from semblance.orchestrator.figure import Figure
from semblance.orchestrator.grpc_edge.boundary import DeadlinePolicy, ErrorBoundary
from semblance.orchestrator.grpc_edge.release_service import ReleaseService
from semblance.orchestrator.grpc_edge.stream import Streams
from semblance.orchestrator.item import IdPage
from semblance.orchestrator.measure import Measure
from semblance.orchestrator.release import (
    Canary,
    IndexParameters,
    ModelVersion,
    Registered,
    Release,
    ReleaseState,
    Tensor,
)
from semblance.orchestrator.releases import Finding, Plan, Progress, Releases, Report, Switch, Wanted
from semblance.v1.release_pb2_grpc import add_ReleaseServiceServicer_to_server

CREATED = datetime(2026, 5, 1, 12, 0, 30, 250_000, tzinfo=UTC)
CHANGED = datetime(2026, 5, 2, 8, 30, tzinfo=UTC)
ITEMS = 40
# Seconds in which calls in flight may end.
GRACE = 1.0
# Items worked on at once.
WINDOW = 4


def model(name: str, version: int, numbers: int) -> ModelVersion:
    output = Tensor("output", "FP32", (numbers,))
    return ModelVersion(name, version, f"{version:064x}", Tensor("image", "UINT8", (224, 224, 3)), output, 8, 0)


def registered(release_id: str, state: ReleaseState, embedder: int = 1) -> Registered:
    named = model("embedder", 1, 2048) if embedder == 1 else model("embedder_384", embedder, 384)
    release = Release(release_id, model("detector", 1, 6), named, IndexParameters(), f"items_{release_id}")
    return Registered(release, state, CREATED, CHANGED)


class FakeReleases(Releases):
    """r1 is active; what is created has `steps` looks to be ready in.

    It keeps what it is asked for in `asked`, raises `failures` one after the other before anything else, and answers
    nothing while `held`.
    """

    def __init__(self) -> None:
        self.known = {"r1": registered("r1", ReleaseState.ACTIVE)}
        self.asked: list[object] = []
        self.failures: list[Exception] = []
        self.evaluations: dict[str, Evaluation] = {}
        self.steps = 2
        self.ends_as = ReleaseState.READY
        self.problem = ""
        self.outside = False
        self.lagging: tuple[str, ...] = ()
        self.good = True
        self.held = asyncio.Event()
        self.held.set()
        self._left: dict[str, int] = {}

    async def plan(self, wanted: Wanted) -> Plan:
        await self._begin(wanted)
        drafted = self._drafted(wanted).release
        seconds = None if wanted.keep_index else 754.0
        return Plan(
            drafted.release_id,
            drafted.detector,
            drafted.embedder,
            new_collection=not wanted.keep_index,
            items=ITEMS,
            images=1234,
            rows=5678,
            active_memory=3 * 2**30,
            new_memory=0 if wanted.keep_index else 2**29,
            new_disk=0 if wanted.keep_index else 2**30,
            query_nodes=1,
            seconds=seconds,
            index=drafted.index,
        )

    async def create(self, wanted: Wanted) -> Registered:
        await self._begin(wanted)
        drafted = self._drafted(wanted)
        self._left[drafted.release_id] = self.steps
        return self._keep(drafted)

    async def get(self, release_id: str) -> tuple[Registered, Progress]:
        await self._begin(release_id)
        found = self._known_as(release_id)
        if found.state is ReleaseState.BUILDING:
            self._left[release_id] -= 1
            if self._left[release_id] <= 0:
                found = self._keep(replace(found, state=self.ends_as))
        return found, self._progress_of(found)

    async def list(self) -> Sequence[tuple[Registered, Progress | None]]:
        await self._begin("list")
        return [
            (each, None if each.state is ReleaseState.RETIRED else self._progress_of(each))
            for each in self.known.values()
        ]

    async def activate(self, release_id: str, require: Sequence[str]) -> Switch:
        await self._begin((release_id, require))
        found = self._known_as(release_id)
        if found.state is not ReleaseState.READY:
            raise WrongState(f"release {release_id} is {found.state}, and only one that is ready can be activated")
        before = next(each for each in self.known.values() if each.state is ReleaseState.ACTIVE)
        self._keep(replace(before, state=ReleaseState.READY))
        active = self._keep(replace(found, state=ReleaseState.ACTIVE, replaced=before.release_id))
        return Switch(active, before.release_id, 0.75, self.lagging)

    async def roll_back(self) -> Switch:
        await self._begin("roll back")
        active = next(each for each in self.known.values() if each.state is ReleaseState.ACTIVE)
        if not active.replaced:
            raise WrongState(f"release {active.release_id} replaced none; activate another by its id")
        return await self.activate(active.replaced, ())

    async def canary(self, release_id: str, canary: Canary | None) -> Registered:
        await self._begin((release_id, canary))
        return self._keep(replace(self._known_as(release_id), canary=canary))

    async def shadow(self, release_id: str, percent: float) -> Registered:
        await self._begin((release_id, percent))
        return self._keep(replace(self._known_as(release_id), shadow=percent))

    async def report(self, release_id: str) -> Report:
        await self._begin(release_id)
        figures = (
            Figure("overlap@10", 0.8125, "hits that both have, of ten"),
            Figure("p99_ratio", None, "its p99 over the active release's"),
        )
        known = self._known_as(release_id).release_id
        evaluation = self.evaluations.get(known)
        return Report(known, "r1", (*figures, *(evaluation.reported() if evaluation else ())), evaluation)

    async def record_evaluation(self, release_id: str, against: str, figures: tuple[Figure, ...]) -> None:
        await self._begin((release_id, against, figures))
        self.evaluations[self._known_as(release_id).release_id] = Evaluation(against, figures, CHANGED)

    async def retire(self, release_id: str) -> Registered:
        await self._begin(release_id)
        found = self._known_as(release_id)
        if found.state is ReleaseState.ACTIVE:
            raise WrongState(f"release {release_id} is active; activate another one first")
        return self._keep(replace(found, state=ReleaseState.RETIRED))

    async def status(self) -> Sequence[Finding]:
        await self._begin("status")
        return [
            Finding("Milvus", "rows of r1", "5,678", "5,678", True),
            Finding("orchestrator a:41", "serves", "active r1", "active r1" if self.good else "active r0", self.good),
        ]

    async def _begin(self, asked: object) -> None:
        self.asked.append(asked)
        await self.held.wait()
        if self.failures:
            raise self.failures.pop(0)

    def _known_as(self, release_id: str) -> Registered:
        if release_id not in self.known:
            raise NotFound(f"there is no release {release_id!r}; there are {', '.join(self.known)}")
        return self.known[release_id]

    def _keep(self, release: Registered) -> Registered:
        self.known[release.release_id] = release
        return release

    def _drafted(self, wanted: Wanted) -> Registered:
        made = registered(wanted.release_id or f"r{len(self.known) + 1}", ReleaseState.BUILDING, wanted.embedder or 1)
        index = IndexParameters(metric=wanted.metric or Measure.COSINE)
        return replace(made, release=replace(made.release, index=index))

    def _progress_of(self, release: Registered) -> Progress:
        if release.state is not ReleaseState.BUILDING:
            return Progress(ITEMS, 0, 0.0, "")
        return Progress(ITEMS, 30, 2.5, self.problem, self.outside)


class FakeBuilds(Builds):
    """Every release lacks `lacking`; what is built is kept in `built`, or fails with what `failures` has for it; while
    `held` it waits."""

    def __init__(self) -> None:
        self.lacking: list[str] = []
        self.built: list[tuple[str, str]] = []
        self.failures: dict[str, Exception] = {}
        self.held = asyncio.Event()
        self.held.set()
        # At once, now and at most.
        self.waiting = self.most = 0

    async def pending(self, release_id: str, page_size: int, page_token: str) -> IdPage:
        start = int(page_token or 0)
        more = len(self.lacking) > start + page_size
        return IdPage(tuple(self.lacking[start : start + page_size]), str(start + page_size) if more else "")

    async def build(self, release_id: str, item_id: str, deadline: Deadline) -> None:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        try:
            await self.held.wait()
        finally:
            self.waiting -= 1
        if item_id in self.failures:
            raise self.failures[item_id]
        self.built.append((release_id, item_id))


@asynccontextmanager
async def served(
    releases: Releases, deadlines: DeadlinePolicy | None = None, builds: Builds | None = None
) -> AsyncIterator[str]:
    """Host and port of `ReleaseService`."""
    server = grpc.aio.server(interceptors=[ErrorBoundary()])
    streams = Streams(lambda number: nullcontext())
    policy = deadlines or DeadlinePolicy(default=10.0, maximum=60.0)
    service = ReleaseService(releases, builds or FakeBuilds(), policy, streams, WINDOW)
    add_ReleaseServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(GRACE)


@contextmanager
def served_in_a_thread(releases: Releases, builds: Builds | None = None) -> Iterator[str]:
    """The same, for tests that have no event loop of their own."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    service = served(releases, builds=builds)
    target = asyncio.run_coroutine_threadsafe(service.__aenter__(), loop).result()
    try:
        yield target
    finally:
        asyncio.run_coroutine_threadsafe(service.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
