"""What an operator does with releases: build, compare, activate, roll back, retire."""

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from semblance.orchestrator.activation import check_published, new_collection
from semblance.orchestrator.catalog import Catalog
from semblance.orchestrator.errors import InvalidArgument, NotFound, SemblanceError, WrongState
from semblance.orchestrator.evaluation import Evaluation
from semblance.orchestrator.figure import Figure
from semblance.orchestrator.follower import PRESENT_SECONDS
from semblance.orchestrator.measure import Measure
from semblance.orchestrator.observations import Observations, figures
from semblance.orchestrator.ports import InferenceServer, Ports
from semblance.orchestrator.release import (
    LIVE,
    Canary,
    IndexParameters,
    ModelVersion,
    Presence,
    Registered,
    Release,
    ReleaseState,
)
from semblance.orchestrator.requirement import failing, parse_requirements
from semblance.orchestrator.sizing import disk_of_row, memory_of_row, query_nodes

# How long an activation waits, in seconds, until what was put before is in the release's collection, and then until
# every orchestrator follows.
SETTLE_SECONDS = 30.0
FOLLOWED_SECONDS = 10.0
POLL_SECONDS = 0.1
# How long the keeper waits for the engine that is to build a release, in seconds: models are loaded meanwhile, and a
# cluster starts.
ENGINE_WAIT_SECONDS = 300.0
# Of a part that `status` asks, in seconds: it is asked for when one does not answer.
STATUS_TIMEOUT = 5.0
# Items that a plan describes to see what one takes, and at once.
SAMPLE = 8


@dataclass(frozen=True, slots=True)
class Wanted:
    """A release to be made. What is None, or of the index, 0, is as the active release has it; "" takes the next id.

    `outside`: an outside engine is to build it.
    """

    release_id: str = ""
    detector: int | None = None
    embedder: int | None = None
    index: IndexParameters | None = None
    keep_index: bool = False
    metric: Measure | None = None
    outside: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a release's collection is: `unsettled` of `items` are to be indexed, at `rate` items a second, by an
    outside engine where `outside` says so."""

    items: int
    unsettled: int
    rate: float
    problem: str
    outside: bool = False

    @property
    def remaining(self) -> float | None:
        """Seconds, None where nothing is known."""
        if not self.unsettled:
            return 0.0
        return self.unsettled / self.rate if self.rate else None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a release would take; bytes and seconds are estimates."""

    release_id: str
    detector: ModelVersion
    embedder: ModelVersion
    new_collection: bool
    items: int
    images: int
    rows: int
    active_memory: int
    new_memory: int
    new_disk: int
    query_nodes: int
    seconds: float | None
    index: IndexParameters


@dataclass(frozen=True, slots=True)
class Switch:
    """What became of an activation; `lagging` orchestrators had not followed within the wait."""

    active: Registered
    replaced: str
    seconds: float
    lagging: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A canary's or shadow's figures against the active release, and those of the release's evaluation."""

    release_id: str
    against: str
    figures: tuple[Figure, ...]
    evaluation: Evaluation | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a part should hold, and what it has."""

    part: str
    what: str
    should: str
    has: str
    good: bool


class Releases:
    """Raises NotFound where there is no such release, WrongState where it is not in the state that this takes."""

    def __init__(self, ports: Ports, catalog: Catalog, share: float) -> None:
        """`share`: of the models' time, what builds get while searches are served."""
        self._ports = ports
        self._registry = ports.registry
        self._catalog = catalog
        self._share = share

    async def plan(self, wanted: Wanted) -> Plan:
        """Raises InvalidArgument where nothing would change, or what is wanted does not go together."""
        active = await self._active()
        release = await self._draft(wanted, active)
        size = await self._ports.metadata.count(active.collection)
        new = release.collection != active.collection
        active_memory = size.vectors * memory_of_row(active.dimension, active.index)
        new_memory = size.vectors * memory_of_row(release.dimension, release.index) if new else 0
        return Plan(
            release.release_id,
            release.detector,
            release.embedder,
            new,
            size.items,
            size.images,
            size.vectors,
            active_memory,
            new_memory,
            size.vectors * disk_of_row(release.dimension) if new else 0,
            query_nodes(active_memory + new_memory),
            await self._seconds(active, size.items) if new else 0.0,
            release.index,
        )

    async def create(self, wanted: Wanted) -> Registered:
        """Begins to build it. Raises as `plan` does, and Conflict where the id is taken."""
        active = await self._active()
        release = await self._draft(wanted, active)
        for model in (release.detector, release.embedder):
            await check_published(model, release.release_id, self._ports.repository)
        # An index that is kept is not built.
        outside = wanted.outside and release.collection != active.collection
        return await self._registry.add_release(release, ENGINE_WAIT_SECONDS if outside else 0.0)

    async def get(self, release_id: str) -> tuple[Registered, Progress]:
        registered = await self._find(release_id)
        return registered, await self._progress(registered)

    async def list(self) -> Sequence[tuple[Registered, Progress | None]]:
        """The oldest first; retired ones have no progress."""
        releases = await self._registry.releases()
        return [(each, await self._progress(each) if each.state in LIVE else None) for each in releases]

    async def activate(self, release_id: str, require: Sequence[str]) -> Switch:
        """Raises WrongState where a requirement, such as `overlap@10>=0.8`, does not hold, InvalidArgument where it is
        none."""
        began = time.monotonic()
        requirements = parse_requirements(require)
        registered = await self._find(release_id)
        if registered.state is ReleaseState.READY:
            report = await self.report(release_id)
            if failed := failing(requirements, report.figures, report.against, report.evaluation):
                raise WrongState(f"release {release_id} was not activated: {'; '.join(failed)}")
            await self._check_served(release_id)
            await self._settled(registered)
        before = (await self._active()).release_id
        registered = await self._registry.activate(release_id)
        return await self._followed(registered, before, began)

    async def roll_back(self) -> Switch:
        began = time.monotonic()
        before = (await self._active()).release_id
        await self._check_served((await self._find(before)).replaced)
        return await self._followed(await self._registry.roll_back(), before, began)

    async def canary(self, release_id: str, canary: Canary | None) -> Registered:
        return await self._registry.set_canary(release_id, canary)

    async def shadow(self, release_id: str, percent: float) -> Registered:
        return await self._registry.set_shadow(release_id, percent)

    async def report(self, release_id: str) -> Report:
        await self._find(release_id)
        observed = [Observations.from_json(each) for each in await self._registry.observations(release_id)]
        total = sum(observed, Observations())
        evaluation = await self._registry.evaluation(release_id)
        evaluated = evaluation.reported() if evaluation else ()
        return Report(release_id, (await self._active()).release_id, (*figures(total), *evaluated), evaluation)

    async def record_evaluation(self, release_id: str, against: str, figures: tuple[Figure, ...]) -> None:
        """In place of what was recorded of the release before. Raises InvalidArgument for what can't be figures."""
        await self._registry.record_evaluation(release_id, Evaluation(against, figures, datetime.now(UTC)))

    async def retire(self, release_id: str) -> Registered:
        return await self._registry.retire(release_id)

    async def status(self) -> Sequence[Finding]:
        releases = [each for each in await self._registry.releases() if each.state in LIVE]
        findings = await asyncio.gather(self._models(releases), self._collections(releases), self._orchestrators())
        return [finding for part in findings for finding in part]

    async def _find(self, release_id: str) -> Registered:
        releases = await self._registry.releases()
        for each in releases:
            if each.release_id == release_id:
                return each
        raise NotFound(
            f"there is no release {release_id!r}; there are {', '.join(each.release_id for each in releases)}"
        )

    async def _active(self) -> Release:
        active = await self._registry.active_release()
        if active is None:
            raise WrongState("no release is active yet: the service has not started with this metadata store")
        return active

    async def _draft(self, wanted: Wanted, active: Release) -> Release:
        """What would be built; it has the active release's collection where nothing that this holds changes."""
        repository = self._ports.repository
        taken = {each.release_id for each in await self._registry.releases()}
        release = Release(
            wanted.release_id or _next_id(taken),
            active.detector if wanted.detector is None else await repository.describe("detector", wanted.detector),
            active.embedder if wanted.embedder is None else await repository.describe("embedder", wanted.embedder),
            _index(wanted, active.index),
            active.collection,
        )
        if replace(release, release_id=active.release_id) == active:
            raise InvalidArgument(
                f"release {active.release_id} has {active.detector.name} version {active.detector.version}, "
                f"{active.embedder.name} version {active.embedder.version} and this index already, and is active; name "
                "what is to change"
            )
        if needs_collection(release, active, wanted.keep_index):
            return replace(release, collection=new_collection(release.release_id))
        return release

    async def _seconds(self, active: Release, items: int) -> float | None:
        """Estimated, from what a few items take now."""
        sample = await self._ports.metadata.items_after(active.collection, "", SAMPLE)
        if not sample:
            return None
        began = time.monotonic()
        for item in sample:
            await self._catalog.describe(item, active)
        return (time.monotonic() - began) / len(sample) * items / self._share

    async def _progress(self, registered: Registered) -> Progress:
        metadata, collection = self._ports.metadata, registered.release.collection
        items = await metadata.count_items()
        unsettled = await metadata.count_unsettled(collection, datetime.now(UTC))
        outside = registered.is_built_outside(datetime.now(UTC))
        return Progress(items, unsettled, registered.rate, registered.problem, outside)

    async def _check_served(self, release_id: str) -> None:
        """Raises WrongState where an orchestrator would refuse its requests."""
        for each in await self._present():
            if problem := each.problems.get(release_id):
                raise WrongState(f"release {release_id} was not activated: orchestrator {each.name} says: {problem}")

    async def _settled(self, registered: Registered) -> None:
        """Waits until all that was put until now is in the release's collection."""
        now, give_up = datetime.now(UTC), time.monotonic() + SETTLE_SECONDS
        while left := await self._ports.metadata.count_unsettled(registered.release.collection, now):
            if time.monotonic() > give_up:
                raise WrongState(
                    f"release {registered.release_id} was not activated: {left:,} items that were changed before are "
                    "not in its collection yet; look at `semblance release status`, and try again"
                )
            await asyncio.sleep(POLL_SECONDS)

    async def _followed(self, registered: Registered, before: str, began: float) -> Switch:
        """Waits until every orchestrator that is alive serves the release."""
        give_up = time.monotonic() + FOLLOWED_SECONDS
        while lagging := [each.name for each in await self._present() if each.active != registered.release_id]:
            if time.monotonic() > give_up:
                break
            await asyncio.sleep(POLL_SECONDS)
        replaced = before if before != registered.release_id else registered.replaced
        return Switch(registered, replaced, time.monotonic() - began, tuple(lagging))

    async def _present(self) -> Sequence[Presence]:
        return await self._registry.present(PRESENT_SECONDS)

    async def _models(self, releases: Sequence[Registered]) -> Sequence[Finding]:
        needed = {
            (model, each.release_id) for each in releases for model in (each.release.detector, each.release.embedder)
        }
        models = sorted({model for model, _ in needed}, key=lambda model: (model.name, model.version))
        published = [
            self._published(model, min(release_id for other, release_id in needed if other == model))
            for model in models
        ]
        served = [
            _versions(part, server, name, [model.version for model in models if model.name == name])
            for part, server in self._ports.models.items()
            for name in sorted({model.name for model in models})
        ]
        return await asyncio.gather(*published, *served)

    async def _published(self, model: ModelVersion, release_id: str) -> Finding:
        what = f"{model.name} version {model.version}"
        try:
            await check_published(model, release_id, self._ports.repository)
        except SemblanceError as error:
            return Finding("model repository", what, f"SHA-256 {model.sha256[:12]}", str(error), False)
        return Finding("model repository", what, f"SHA-256 {model.sha256[:12]}", "the same", True)

    async def _collections(self, releases: Sequence[Registered]) -> Sequence[Finding]:
        return await asyncio.gather(*map(self._collection, releases))

    async def _collection(self, registered: Registered) -> Finding:
        """While items are put, rows that are on their way make a difference that passes."""
        release = registered.release
        what = f"rows of {registered.release_id} in {release.collection}"
        size = await self._ports.metadata.count(release.collection)
        unsettled = await self._ports.metadata.count_unsettled(release.collection, datetime.now(UTC))
        should = f"{size.vectors:,}" + (f", and those of {unsettled:,} unsettled items" if unsettled else "")
        try:
            await self._ports.index.check(release, STATUS_TIMEOUT)
            rows = await self._ports.index.count(release, STATUS_TIMEOUT)
        except SemblanceError as error:
            return Finding("Milvus", what, should, str(error), False)
        return Finding("Milvus", what, should, f"{rows:,}", bool(unsettled) or rows == size.vectors)

    async def _orchestrators(self) -> Sequence[Finding]:
        registered = await self._registry.releases()
        active = next((each.release_id for each in registered if each.state is ReleaseState.ACTIVE), "")
        canary = next((each.release_id for each in registered if each.canary), "")
        shadow = next((each.release_id for each in registered if each.shadow), "")
        present = await self._present()
        should = _traffic(active, canary, shadow)
        findings = []
        for each in present:
            has = "; ".join([_traffic(each.active, each.canary, each.shadow), *each.problems.values()])
            findings.append(Finding(f"orchestrator {each.name}", "serves", should, has, has == should))
        keepers = [each.name for each in present if each.keeper]
        findings.append(Finding("keeper", "is", "one of them", ", ".join(keepers) or "nobody", len(keepers) == 1))
        return findings


async def _versions(part: str, server: InferenceServer, name: str, should: Sequence[int]) -> Finding:
    what, wanted = f"versions of {name}", ", ".join(map(str, should))
    try:
        ready = await server.ready_versions(name, STATUS_TIMEOUT)
    except SemblanceError as error:
        return Finding(part, what, wanted, str(error), False)
    return Finding(part, what, wanted, ", ".join(map(str, ready)) or "none", set(should) <= set(ready))


def needs_collection(release: Release, active: Release, keep_index: bool) -> bool:
    """Whether the vectors of the active release's collection are not what the release would have put there.

    Raises InvalidArgument where they are to be kept and can't be.
    """
    graph = replace(release.index, ef=active.index.ef) != active.index
    if keep_index and (release.embedder != active.embedder or graph):
        raise InvalidArgument(
            "--keep-index goes with another detector alone: another embedder's vectors can't be compared with those of "
            "the collection, and the index has the parameters that it was made with"
        )
    return graph or release.embedder != active.embedder or (release.detector != active.detector and not keep_index)


def _index(wanted: Wanted, active: IndexParameters) -> IndexParameters:
    index = wanted.index or active
    return IndexParameters(
        index.m or active.m,
        index.ef_construction or active.ef_construction,
        index.ef or active.ef,
        wanted.metric or active.metric,
    )


def _next_id(taken: Collection[str]) -> str:
    number = 1
    while f"r{number}" in taken:
        number += 1
    return f"r{number}"


def _traffic(active: str, canary: str, shadow: str) -> str:
    others = [f"{what} {release_id}" for what, release_id in (("canary", canary), ("shadow", shadow)) if release_id]
    return ", ".join([active, *others])
