"""Keeping what is live as the registry says, by one orchestrator of all at a time: the one that has the lease.

It has Triton serve the models of live releases, and no other release's; mends their collections; builds releases, whose
items it leaves to an outside engine while one is at it; drops collections that were discarded; and deletes feedback
that is too old. Killed at any moment, another orchestrator goes on from what is stored.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from semblance.orchestrator.activation import CALL_TIMEOUT, check_published, check_ready, check_served
from semblance.orchestrator.catalog import Catalog
from semblance.orchestrator.countdown import Countdown
from semblance.orchestrator.errors import ContractMismatch, DependencyUnavailable, SemblanceError
from semblance.orchestrator.follower import PRESENT_SECONDS, RECHECK_SECONDS
from semblance.orchestrator.mender import Mender, Pace
from semblance.orchestrator.ports import Ports
from semblance.orchestrator.release import LIVE, ModelVersion, Registered, Release, ReleaseState
from semblance.orchestrator.retention import Retention
from semblance.orchestrator.verification import Verification

log = logging.getLogger(__name__)

# The lease, for so many seconds, is renewed this often: a killed keeper is succeeded when its lease is over.
LEASE = "keeper"
LEASE_SECONDS = 5.0
RENEW_SECONDS = 1.0
# Between two looks at what is to be done, in seconds.
POLL_SECONDS = 0.5
# Between two looks at what feedback is too old, and whose photos are to be removed, in seconds.
RETENTION_SECONDS = 30.0
# How long a change may be on its way to the active collection before it is mended, in seconds.
MEND_SECONDS = 3.0
# Whose models are loaded first.
RANKS = ReleaseState.ACTIVE, ReleaseState.READY, ReleaseState.BUILDING
# Until a load that failed is tried again, at first and at most, in seconds: each one loads the versions anew that are
# served beside it.
FIRST_RETRY, LAST_RETRY = 5.0, 300.0
# A load compiles the graph and warms it at every batch size, while live traffic has the cores, in seconds.
LOAD_TIMEOUT = 600.0


@dataclass(slots=True)
class Load:
    """Of a model's version into a server: why it could not be loaded, and when that is tried again."""

    problem: str = ""
    delay: float = 0.0
    again_at: float = 0.0

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self.again_at

    @contextmanager
    def trying(self) -> Iterator[None]:
        try:
            yield
        except SemblanceError as error:
            self.problem = str(error)
            self.delay = min(LAST_RETRY, max(FIRST_RETRY, 2 * self.delay))
            self.again_at = time.monotonic() + self.delay
            raise
        self.problem, self.delay, self.again_at = "", 0.0, 0.0


class Keeper:
    def __init__(
        self,
        name: str,
        ports: Ports,
        catalog: Catalog,
        retention: Retention,
        repairs: Pace,
        builds: Pace,
        drain: float,
    ) -> None:
        """`repairs`: the pace of the active collection's mends; `builds`: that of the other releases'. For `drain`
        seconds after a release is retired a request may still be using it."""
        self._name = name
        self._ports = ports
        self._catalog = catalog
        self._retention = retention
        self._repairs = repairs
        self._builds = builds
        self._drain = timedelta(seconds=drain)
        # Whether any orchestrator serves searches.
        self.searching = False
        self._work: list[asyncio.Task[None]] = []
        # What may take long, by what it is: nothing waits for it.
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._said: dict[str, str] = {}
        self._menders: dict[str, tuple[Registered, Mender, asyncio.Task[None]]] = {}
        self._loads: dict[tuple[str, ModelVersion], Load] = {}
        # What is being loaded, by part and name.
        self._loading: set[tuple[str, str]] = set()
        # What is building, and was found to be what it names; when what was not is looked at again.
        self._prepared: set[Release] = set()
        self._mismatched: dict[Release, float] = {}
        # What was changed before then is to be in a collection that is built before it is compared.
        self._since: dict[Release, datetime] = {}
        # How fast the items get less that are left to an outside engine.
        self._countdowns: defaultdict[Release, Countdown] = defaultdict(Countdown)
        # What was left to an outside engine at the last look.
        self._left: frozenset[str] = frozenset()

    @property
    def keeps(self) -> bool:
        """Whether this one has the lease."""
        return bool(self._work)

    async def run(self) -> None:
        """Competes for the lease, for ever, and does the work while it has it."""
        until = 0.0
        try:
            while True:
                asked = time.monotonic()
                try:
                    # Who has it stops when it is over, whatever the registry does.
                    async with asyncio.timeout(until - asked if self._work else None):
                        has = await self._ports.registry.lease(LEASE, self._name, LEASE_SECONDS)
                        until = asked + LEASE_SECONDS if has else 0.0
                        present = await self._ports.registry.present(PRESENT_SECONDS)
                        self.searching = any(each.searching for each in present)
                except SemblanceError as error:
                    self._say("lease", error)
                except TimeoutError:
                    log.warning("the lease could not be renewed in time")
                except Exception:
                    log.exception("the lease could not be renewed")
                if time.monotonic() < until and not self._work:
                    log.info("keeping models, collections and builds as the registry says")
                    self._begin()
                elif time.monotonic() >= until and self._work:
                    log.warning("another orchestrator keeps models, collections and builds now")
                    await self._end()
                await asyncio.sleep(RENEW_SECONDS)
        finally:
            await self._end()

    def _begin(self) -> None:
        steps = (self._serve_models, self._mend, self._build, self._drop_discarded)
        self._work = [asyncio.create_task(self._repeat(step)) for step in steps]
        self._work.append(asyncio.create_task(self._retain()))

    async def _end(self) -> None:
        tasks = [*self._work, *self._tasks.values(), *(task for _, _, task in self._menders.values())]
        self._work = []
        for known in (
            self._tasks,
            self._menders,
            self._loads,
            self._prepared,
            self._mismatched,
            self._since,
            self._countdowns,
        ):
            known.clear()
        self._left = frozenset()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _repeat(self, step: Callable[[Sequence[Registered]], Awaitable[None]]) -> None:
        while True:
            await self._try(step.__name__, self._look(step))
            await asyncio.sleep(POLL_SECONDS)

    async def _retain(self) -> None:
        while True:
            await self._try("feedback", self._retention.round())
            await asyncio.sleep(RETENTION_SECONDS)

    async def _look(self, step: Callable[[Sequence[Registered]], Awaitable[None]]) -> None:
        await step(await self._ports.registry.releases())

    def _start(self, about: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Nothing where it is under way."""
        if about not in self._tasks or self._tasks[about].done():
            self._tasks[about] = asyncio.create_task(self._try(about, work()))

    async def _try(self, about: str, work: Awaitable[None]) -> None:
        try:
            await work
            self._said.pop(about, None)
        except SemblanceError as error:
            self._say(about, error)
        except Exception:
            log.exception("what the keeper does failed, and is tried again")

    def _say(self, about: str, error: Exception) -> None:
        """Once, as long as it stays the same."""
        if self._said.get(about) != str(error):
            self._said[about] = str(error)
            log.warning("%s", error)

    # Models

    async def _serve_models(self, releases: Sequence[Registered]) -> None:
        """Loads what is missing, and unloads what only retired releases named, when no request can be using it."""
        wanted = ranks(releases)
        drained = datetime.now(UTC) - self._drain
        retired = [each for each in releases if each.state is ReleaseState.RETIRED]
        used = {*wanted, *models_of(each for each in retired if each.changed_at >= drained)}
        needless = models_of(retired) - used
        for part in self._ports.models:
            for name in {model.name for model in (*wanted, *needless)}:
                self._start(loading(part, name), partial(self._reconcile, part, name, wanted, needless))

    async def _reconcile(
        self, part: str, name: str, wanted: Mapping[ModelVersion, int], needless: Collection[ModelVersion]
    ) -> None:
        """One load: of what is missing the first that is due, so that one that is broken keeps no other out."""
        ready = set(await self._ports.models[part].ready_versions(name, CALL_TIMEOUT))
        keep = ready - {model.version for model in needless if model.name == name}
        missing = [model for model in wanted if model.name == name and model.version not in ready]
        for model in sorted(missing, key=lambda model: (wanted[model], model.version)):
            load = self._loads.setdefault((part, model), Load())
            if load.is_due:
                with load.trying():
                    await self._ports.repository.verify(model)
                    await self._load(part, name, ready, {*keep, model.version})
                return
        if keep != ready:
            await self._load(part, name, ready, keep)

    async def _load(self, part: str, name: str, ready: Collection[int], versions: Collection[int]) -> None:
        log.info("%s is to serve %s of %s; it served %s", part, sorted(versions), name, sorted(ready))
        config = await self._ports.repository.config(name)
        self._loading.add((part, name))
        try:
            await self._ports.models[part].load(name, versions, config, LOAD_TIMEOUT)
        finally:
            self._loading.discard((part, name))

    # Collections

    async def _mend(self, releases: Sequence[Registered]) -> None:
        """Keeps a mender for each collection that is there."""
        outside = self._outside(releases)
        wanted = {
            each.release.collection: each
            for each in sorted(releases, key=_active_last)
            if each.state in LIVE and each.release_id not in outside
        }
        for collection, (registered, _, task) in list(self._menders.items()):
            now = wanted.get(collection)
            if now is None or (now.release, now.state) != (registered.release, registered.state) or task.done():
                del self._menders[collection]
                task.cancel()
        for collection, each in wanted.items():
            if collection not in self._menders and await self._is_there(each.release):
                self._menders[collection] = self._mender(each)

    def _outside(self, releases: Sequence[Registered]) -> frozenset[str]:
        """Those that are left to an outside engine."""
        now = datetime.now(UTC)
        found = frozenset(each.release_id for each in releases if each.is_built_outside(now))
        building = {each.release_id for each in releases if each.state is ReleaseState.BUILDING}
        for release_id in found - self._left:
            log.info("the items of release %s are left to an outside engine", release_id)
        for release_id in self._left & building - found:
            log.info("no outside engine builds release %s any more: the keeper goes on", release_id)
        self._left = found
        return found

    def _mender(self, registered: Registered) -> tuple[Registered, Mender, asyncio.Task[None]]:
        repairs = registered.state is ReleaseState.ACTIVE
        # Puts write to the active collection themselves, and to no other one.
        seconds, poll = (MEND_SECONDS, MEND_SECONDS) if repairs else (0.0, POLL_SECONDS)
        pace = self._repairs if repairs else self._builds
        mender = Mender(self._catalog, self._ports.metadata, registered.release, pace, seconds)
        return registered, mender, asyncio.create_task(mender.run(poll))

    async def _is_there(self, release: Release) -> bool:
        with suppress(ContractMismatch):
            await self._ports.index.check(release, CALL_TIMEOUT)
            return True
        return False

    async def _drop_discarded(self, releases: Sequence[Registered]) -> None:
        """When no request of any orchestrator can be using them any more."""
        registry = self._ports.registry
        for collection in await registry.discarded(datetime.now(UTC) - self._drain):
            await self._ports.index.drop(collection, CALL_TIMEOUT)
            await registry.forget(collection)
            log.info("dropped collection %s, which no release has any more", collection)

    # Builds

    async def _build(self, releases: Sequence[Registered]) -> None:
        for each in releases:
            if each.state is ReleaseState.BUILDING and time.monotonic() >= self._mismatched.get(each.release, 0.0):
                self._start(f"building {each.release_id}", partial(self._build_one, each))
            elif each.state in LIVE:
                # The active one may have got a new collection.
                self._start(f"listing for {each.release_id}", partial(self._enlist, each.release.collection))

    async def _build_one(self, registered: Registered) -> None:
        release = registered.release
        problem = ""
        try:
            await self._get_on(release)
        except SemblanceError as error:
            self._prepared.discard(release)
            if isinstance(error, ContractMismatch):
                self._mismatched[release] = time.monotonic() + RECHECK_SECONDS
            problem = " ".join([str(error), *self._why_not_loaded(release)])
            self._say(f"build of {release.release_id}", error)
        else:
            self._said.pop(f"build of {release.release_id}", None)
        mending = self._menders.get(release.collection)
        # Where it has just got ready no countdown is begun.
        rated = mending[1] if mending else self._countdowns.get(release)
        rate = rated.rate if rated else 0.0
        problem = problem or (mending[1].problem if mending else "")
        if (problem, rate) != (registered.problem, registered.rate):
            await self._ports.registry.note(release.release_id, problem, rate)

    def _why_not_loaded(self, release: Release) -> list[str]:
        models = {release.detector, release.embedder}
        return [load.problem for (_, model), load in self._loads.items() if model in models and load.problem]

    async def _get_on(self, release: Release) -> None:
        """One step towards `ready`: the collection's mender does the work between."""
        # Before the moment is taken: what is enlisted changes then.
        await self._enlist(release.collection)
        if release not in self._prepared:
            await self._prepare(release)
            self._prepared.add(release)
        # Kept until it is reached: what changes all the time is always on its way.
        since = self._since.setdefault(release, datetime.now(UTC))
        left = await self._ports.metadata.count_unsettled(release.collection, since)
        self._countdowns[release].look(left)
        if left:
            return
        del self._since[release]
        if await self._disagreeing(release):
            return
        await self._check_loaded(release)
        await self._ports.registry.set_ready(release.release_id, since)
        self._countdowns.pop(release, None)
        log.info("release %s is ready", release.release_id)

    async def _prepare(self, release: Release) -> None:
        """Raises DependencyUnavailable while its models are on their way into Triton."""
        await self._check_loaded(release)
        for model in (release.detector, release.embedder):
            await check_published(model, release.release_id, self._ports.repository)
            for server in self._ports.models.values():
                await check_served(model, server, self._ports.repository)
        await self._ports.index.create(release, CALL_TIMEOUT)

    async def _check_loaded(self, release: Release) -> None:
        """Raises DependencyUnavailable where a model is not ready. One that is may be unloaded in a moment, by what was
        begun before the release was known."""
        for part, server in self._ports.models.items():
            for model in (release.detector, release.embedder):
                looking = self._tasks.get(loading(part, model.name))
                if looking is not None and not (await asyncio.wait({looking}, timeout=POLL_SECONDS))[0]:
                    doing = "is loading" if (part, model.name) in self._loading else "does not say what it has of"
                    raise DependencyUnavailable(f"{part} {doing} {model.name}")
                await check_ready(model, server)

    async def _disagreeing(self, release: Release) -> bool:
        """Compares the whole collection with the catalogue; what disagrees is mended."""
        ports = self._ports
        found = False
        async for checked in Verification(ports.metadata, ports.images, ports.index).items(release):
            # Others have changed since, and are on their way.
            if unknown := [each.item_id for each in checked.disagreements if not each.waiting]:
                found = True
                await ports.metadata.unsettle(release.collection, unknown)
        return found

    async def _enlist(self, collection: str) -> None:
        while await self._ports.metadata.enlist(collection):
            pass


def loading(part: str, name: str) -> str:
    return f"loading {name} into {part}"


def models_of(releases: Iterable[Registered]) -> set[ModelVersion]:
    return {model for each in releases for model in (each.release.detector, each.release.embedder)}


def ranks(releases: Sequence[Registered]) -> Mapping[ModelVersion, int]:
    """What live releases need; the lowest is to be loaded first."""
    found: dict[ModelVersion, int] = {}
    for rank, state in enumerate(RANKS):
        for model in models_of(each for each in releases if each.state is state):
            found.setdefault(model, rank)
    return found


def _active_last(registered: Registered) -> bool:
    return registered.state is ReleaseState.ACTIVE
