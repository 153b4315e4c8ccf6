"""Keeping what is live as the registry says, by one orchestrator of all at a time: the one that has the lease.

It has Triton serve the models of live releases, and no other release's; mends their collections; builds releases; and
drops collections that were discarded. Killed at any moment, another orchestrator goes on from what is stored.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from semblance.orchestrator.activation import CALL_TIMEOUT, check_published, check_served
from semblance.orchestrator.catalog import Catalog
from semblance.orchestrator.errors import ContractMismatch, SemblanceError
from semblance.orchestrator.follower import PRESENT_SECONDS
from semblance.orchestrator.mender import Mender, Pace
from semblance.orchestrator.ports import Ports
from semblance.orchestrator.release import LIVE, ModelVersion, Registered, Release, ReleaseState
from semblance.orchestrator.verification import Verification

log = logging.getLogger(__name__)

# The lease, for so many seconds, is renewed this often: a killed keeper is succeeded when its lease is over.
LEASE = "keeper"
LEASE_SECONDS = 5.0
RENEW_SECONDS = 1.0
# Between two looks at what is to be done, in seconds.
POLL_SECONDS = 0.5
# How long a change may be on its way to the active collection before it is mended, in seconds.
MEND_SECONDS = 3.0
# Until a load that failed is tried again, at first and at most, in seconds: each one loads the versions anew that are
# served beside it.
FIRST_RETRY, LAST_RETRY = 5.0, 300.0
# A load compiles the graph and warms it at every batch size, while live traffic has the cores, in seconds.
LOAD_TIMEOUT = 600.0


@dataclass(slots=True)
class Load:
    """Of a model into a server: the versions that were last tried, and why they could not be loaded."""

    versions: frozenset[int] = frozenset()
    problem: str = ""
    delay: float = 0.0
    again_at: float = 0.0

    def may_try(self, versions: Collection[int]) -> bool:
        """Whether others than those that failed are to be tried, or enough time has passed."""
        return self.versions != frozenset(versions) or time.monotonic() >= self.again_at

    @contextmanager
    def trying(self, versions: Collection[int]) -> Iterator[None]:
        if self.versions != frozenset(versions):
            self.versions, self.delay = frozenset(versions), 0.0
        try:
            yield
        except SemblanceError as error:
            self.problem = str(error)
            self.delay = min(LAST_RETRY, max(FIRST_RETRY, 2 * self.delay))
            self.again_at = time.monotonic() + self.delay
            raise
        self.problem, self.delay, self.again_at = "", 0.0, 0.0


class Keeper:
    def __init__(self, name: str, ports: Ports, catalog: Catalog, repairs: Pace, builds: Pace, drain: float) -> None:
        """`repairs`: the pace of the active collection's mends; `builds`: that of the other releases'. For `drain`
        seconds after a release is retired a request may still be using it."""
        self._name = name
        self._ports = ports
        self._catalog = catalog
        self._repairs = repairs
        self._builds = builds
        self._drain = timedelta(seconds=drain)
        # Whether any orchestrator serves searches.
        self.searching = False
        self._work: list[asyncio.Task[None]] = []
        self._said: dict[str, str] = {}
        self._menders: dict[str, tuple[Registered, Mender, asyncio.Task[None]]] = {}
        self._loads: dict[tuple[str, str], Load] = {}
        # What is building, and was found to be what it names.
        self._prepared: set[Release] = set()
        # What was changed before then is to be in a collection that is built before it is compared.
        self._since: dict[Release, datetime] = {}

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
                        present = await self._ports.registry.present(PRESENT_SECONDS) if has else ()
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

    async def _end(self) -> None:
        tasks = [*self._work, *(task for _, _, task in self._menders.values())]
        self._work = []
        self._menders.clear()
        # What failed since then, and was put behind the others, only the menders knew.
        self._since.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _repeat(self, step: Callable[[Sequence[Registered]], Awaitable[None]]) -> None:
        while True:
            try:
                await step(await self._ports.registry.releases())
                self._said.pop(str(step), None)
            except SemblanceError as error:
                self._say(str(step), error)
            except Exception:
                log.exception("what the keeper does failed, and is tried again")
            await asyncio.sleep(POLL_SECONDS)

    def _say(self, about: str, error: Exception) -> None:
        """Once, as long as it stays the same."""
        if self._said.get(about) != str(error):
            self._said[about] = str(error)
            log.warning("%s", error)

    # Models

    async def _serve_models(self, releases: Sequence[Registered]) -> None:
        """Loads what is missing, and unloads what only retired releases named, when no request can be using it."""
        wanted = models_of(each for each in releases if each.state in LIVE)
        served = models_of(each for each in releases if each.state in LIVE - {ReleaseState.BUILDING})
        drained = datetime.now(UTC) - self._drain
        retired = [each for each in releases if each.state is ReleaseState.RETIRED]
        draining = models_of(each for each in retired if each.changed_at >= drained)
        done = models_of(retired)
        answers = await asyncio.gather(
            *(
                self._reconcile(part, name, wanted[name], served[name], draining[name], done[name])
                for part in self._ports.models
                for name in {*wanted, *done}
            ),
            return_exceptions=True,
        )
        if errors := [answer for answer in answers if isinstance(answer, BaseException)]:
            raise errors[0]

    async def _reconcile(
        self,
        part: str,
        name: str,
        wanted: Collection[ModelVersion],
        served: Collection[ModelVersion],
        draining: Collection[ModelVersion],
        done: Collection[ModelVersion],
    ) -> None:
        ready = set(await self._ports.models[part].ready_versions(name, CALL_TIMEOUT))
        missing = [model for model in wanted if model.version not in ready]
        # One that is building, and may be broken, is not to keep others from coming back.
        missing = [model for model in missing if model in served] or missing
        needless = {model.version for model in done} - {model.version for model in (*wanted, *draining)}
        if not missing and not ready & needless:
            return
        versions = (ready - needless) | {model.version for model in missing}
        load = self._loads.setdefault((part, name), Load())
        if load.may_try(versions):
            with load.trying(versions):
                await self._load(part, name, ready, versions, missing)

    async def _load(
        self, part: str, name: str, ready: Collection[int], versions: set[int], missing: Collection[ModelVersion]
    ) -> None:
        """Raises ContractMismatch where a version is not what was published: that one is not loaded."""
        changed: list[ContractMismatch] = []
        for model in missing:
            try:
                await self._ports.repository.verify(model)
            except ContractMismatch as error:
                changed.append(error)
                versions = versions - {model.version}
        if versions != ready:
            log.info("%s is to serve %s of %s; it served %s", part, sorted(versions), name, sorted(ready))
            config = await self._ports.repository.config(name)
            await self._ports.models[part].load(name, versions, config, LOAD_TIMEOUT)
        if changed:
            raise changed[0]

    # Collections

    async def _mend(self, releases: Sequence[Registered]) -> None:
        """Keeps a mender for each collection that is there."""
        wanted = {each.release.collection: each for each in sorted(releases, key=_active_last) if each.state in LIVE}
        for collection, (registered, _, task) in list(self._menders.items()):
            now = wanted.get(collection)
            if now is None or (now.release, now.state) != (registered.release, registered.state) or task.done():
                del self._menders[collection]
                task.cancel()
        for collection, each in wanted.items():
            if collection not in self._menders and await self._is_there(each.release):
                self._menders[collection] = self._mender(each)

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
        # Before anything is built: what is enlisted changes then. The active one may have got a new collection.
        await self._enlist(each.release.collection for each in releases if each.state in LIVE)
        await asyncio.gather(*(self._build_one(each) for each in releases if each.state is ReleaseState.BUILDING))

    async def _build_one(self, registered: Registered) -> None:
        release = registered.release
        problem = ""
        try:
            await self._get_on(release)
        except SemblanceError as error:
            self._prepared.discard(release)
            problem = " ".join([str(error), *self._why_not_loaded(release)])
            self._say(f"build of {release.release_id}", error)
        mending = self._menders.get(release.collection)
        rate = mending[1].rate if mending else 0.0
        problem = problem or (mending[1].problem if mending else "")
        if (problem, rate) != (registered.problem, registered.rate):
            await self._ports.registry.note(release.release_id, problem, rate)

    def _why_not_loaded(self, release: Release) -> list[str]:
        names = release.detector.name, release.embedder.name
        return [load.problem for (_, name), load in self._loads.items() if name in names and load.problem]

    async def _get_on(self, release: Release) -> None:
        """One step towards `ready`: the collection's mender does the work between."""
        if release not in self._prepared:
            await self._prepare(release)
            self._prepared.add(release)
        # Kept until it is reached: what changes all the time is always on its way.
        since = self._since.setdefault(release, datetime.now(UTC))
        if await self._ports.metadata.count_unsettled(release.collection, since):
            return
        mending = self._menders.get(release.collection)
        if mending is None or mending[1].problem:
            # What fails is put behind the others, as if it had changed later.
            return
        del self._since[release]
        if await self._disagreeing(release):
            return
        await self._ports.registry.set_ready(release.release_id, since)
        log.info("release %s is ready", release.release_id)

    async def _prepare(self, release: Release) -> None:
        """Raises DependencyUnavailable while its models are on their way into Triton."""
        for model in (release.detector, release.embedder):
            await check_published(model, release.release_id, self._ports.repository)
            for server in self._ports.models.values():
                await check_served(model, server, self._ports.repository)
        await self._ports.index.create(release, CALL_TIMEOUT)

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

    async def _enlist(self, collections: Iterable[str]) -> None:
        for collection in set(collections):
            while await self._ports.metadata.enlist(collection):
                pass


def models_of(releases: Iterable[Registered]) -> defaultdict[str, set[ModelVersion]]:
    """By Triton's name of the model."""
    models: defaultdict[str, set[ModelVersion]] = defaultdict(set)
    for each in releases:
        for model in (each.release.detector, each.release.embedder):
            models[model.name].add(model)
    return models


def _active_last(registered: Registered) -> bool:
    return registered.state is ReleaseState.ACTIVE
