"""Serving what the registry says is live, in each orchestrator; what is in flight keeps its release."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from semblance.orchestrator.activation import CALL_TIMEOUT, check_release
from semblance.orchestrator.admission import Admission
from semblance.orchestrator.errors import ContractMismatch, SemblanceError
from semblance.orchestrator.ports import InferenceServer, Ports
from semblance.orchestrator.release import Presence, Registered, Release, ReleaseState
from semblance.orchestrator.shadow import Shadows
from semblance.orchestrator.statistics import Statistics
from semblance.orchestrator.traffic import Traffic

log = logging.getLogger(__name__)

# Between two looks at the registry, in seconds: what is activated there is served here within two.
FOLLOW_SECONDS = 0.5
# Unchanged, what an orchestrator says of itself and has observed is said again after so many seconds; who has said
# nothing for so many is taken for dead.
APPEAR_SECONDS = 1.0
PRESENT_SECONDS = 4.0
# Who has answered a search within so many seconds is searching.
SEARCHING_SECONDS = 3.0
# Between two checks of what a release that was found good names, in seconds.
CHECK_SECONDS = 60.0
# The same of one that was not what it names.
RECHECK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Checked:
    """When a release was checked, by the monotonic clock, and what was wrong."""

    at: float
    mismatch: ContractMismatch | None = None


class Follower:
    def __init__(
        self,
        name: str,
        ports: Ports,
        models: InferenceServer,
        admission: Admission,
        shadows: Shadows,
        statistics: Statistics,
        keeps: Callable[[], bool],
    ) -> None:
        """`keeps` tells whether this process is the keeper."""
        self._name = name
        self._ports = ports
        self._models = models
        self._admission = admission
        self._shadows = shadows
        self._statistics = statistics
        self._keeps = keeps
        # As the registry had them last.
        self.releases: Sequence[Registered] = ()
        self._checked: dict[Release, Checked] = {}
        self._checking: asyncio.Task[None] | None = None
        self._appeared = 0.0
        self._presence: Presence | None = None
        self._said = ""

    async def check(self, release: Release) -> None:
        """Raises as `check_release` does. A collection in which nothing was ever indexed is made."""
        if not await self._ports.metadata.indexed(release.collection):
            await self._ports.index.create(release, CALL_TIMEOUT)
        await check_release(release, self._models, self._ports.repository, self._ports.index)
        self._checked[release] = Checked(time.monotonic())

    async def run(self) -> None:
        """For ever, from when an active release is served."""
        try:
            while True:
                try:
                    await self.look()
                    self._said = ""
                except SemblanceError as error:
                    if str(error) != self._said:
                        log.warning("it could not be seen which releases are live: %s", error)
                    self._said = str(error)
                except Exception:
                    log.exception("the registry could not be followed, and is looked at again")
                await asyncio.sleep(FOLLOW_SECONDS)
        finally:
            if self._checking is not None:
                self._checking.cancel()

    async def look(self) -> None:
        """Serves what the registry says now, and says so there. Raises where that can't be seen."""
        try:
            await self._follow(await self._ports.registry.releases())
        finally:
            # Who can't follow is alive, and lags behind.
            await self._appear()

    async def _follow(self, releases: Sequence[Registered]) -> None:
        self.releases = releases
        serving = [each for each in releases if each.state in (ReleaseState.ACTIVE, ReleaseState.READY)]
        found = {each.release for each in serving}
        self._checked = {release: known for release, known in self._checked.items() if release in found}
        for each in serving:
            if each.state is ReleaseState.ACTIVE:
                await self._know(each.release)
        self._serve(releases)
        if self._checking is None or self._checking.done():
            due = [each.release for each in serving if self._is_due(each.release)]
            self._checking = asyncio.create_task(self._check_all(due))

    async def _know(self, release: Release) -> None:
        """Checks what was not checked before it is served with. Raises where that can't be found out now."""
        if release not in self._checked:
            await self._check(release)

    def _is_due(self, release: Release) -> bool:
        known = self._checked.get(release)
        if known is None:
            return True
        return time.monotonic() - known.at > (RECHECK_SECONDS if known.mismatch else CHECK_SECONDS)

    async def _check_all(self, releases: Sequence[Release]) -> None:
        for release in releases:
            try:
                await self._check(release)
            except SemblanceError as error:
                # What was known of it holds until it can be seen.
                log.debug("release %s could not be checked: %s", release.release_id, error)

    async def _check(self, release: Release) -> None:
        known = self._checked.get(release)
        try:
            await self.check(release)
            if known and known.mismatch:
                log.info("release %s is again what it names", release.release_id)
        except ContractMismatch as error:
            self._checked[release] = Checked(time.monotonic(), error)
            if known is None or str(known.mismatch) != str(error):
                log.error("requests of release %s are refused: %s", release.release_id, error)

    def _serve(self, releases: Sequence[Registered]) -> None:
        """With those that were checked."""
        serving = [each for each in releases if each.release in self._checked]
        active = next((each.release for each in serving if each.state is ReleaseState.ACTIVE), None)
        if active is None:
            return
        canaries = [(each.release, each.canary) for each in serving if each.canary is not None]
        shadows = [(each.release, each.shadow) for each in serving if each.shadow]
        refusals = {release.release_id: known.mismatch for release, known in self._checked.items() if known.mismatch}
        traffic = Traffic(
            active,
            canaries[0] if canaries else None,
            shadows[0] if shadows else None,
            tuple(each.release for each in serving if each.state is ReleaseState.READY),
            {each.release_id: each.state for each in releases if each not in serving},
            refusals,
        )
        before = self._admission.traffic
        if traffic == before:
            return
        self._admission.traffic = traffic
        if before is None or before.active != active:
            log.info(
                "serving release %s: %s version %d, %s version %d, collection %s",
                active.release_id,
                active.detector.name,
                active.detector.version,
                active.embedder.name,
                active.embedder.version,
                active.collection,
            )

    async def _appear(self) -> None:
        traffic = self._admission.traffic
        if traffic is None:
            return
        presence = Presence(
            self._name,
            active=traffic.active.release_id,
            canary=traffic.canary[0].release_id if traffic.canary else "",
            shadow=traffic.shadow[0].release_id if traffic.shadow else "",
            keeper=self._keeps(),
            searching=time.time() - self._statistics.last < SEARCHING_SECONDS,
            problems={each.release_id: str(known.mismatch) for each, known in self._checked.items() if known.mismatch},
        )
        now = time.monotonic()
        if presence == self._presence and now - self._appeared < APPEAR_SECONDS:
            return
        self._presence, self._appeared = presence, now
        await self._ports.registry.appear(presence)
        for release_id, observations in self._shadows.observed():
            await self._ports.registry.observe(release_id, self._name, observations)
