"""Building releases by an engine outside this service: item by item, over any of the orchestrators.

While an engine sends items, the keeper leaves a release's items to it, and prepares and verifies the release as ever.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from semblance.orchestrator.activation import CALL_TIMEOUT
from semblance.orchestrator.catalog import Catalog
from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.errors import (
    Conflict,
    ContractMismatch,
    DependencyUnavailable,
    NotFound,
    Overloaded,
    SemblanceError,
    WrongState,
)
from semblance.orchestrator.item import IdPage
from semblance.orchestrator.mender import Pace
from semblance.orchestrator.ports import Ports
from semblance.orchestrator.release import LIVE, Registered, Release, ReleaseState

# How long the keeper waits for an engine after the last item that it sent, and how often that is written down. While an
# item is worked on, which may take longer, it is written down thrice in that time.
LEASE_SECONDS = 30.0
RENEW_SECONDS = 3.0
# How often an item is tried that others change meanwhile.
ATTEMPTS = 3
# Between two looks at whether a release whose items wait is prepared, and what is left of an item's time when it gives
# that up, so that its answer tells what it waited for, in seconds.
PREPARE_POLL = 0.5
PREPARE_REST = 1.0
# After which who is refused is to try again, in seconds: a model takes a while to load, an item less.
PREPARE_RETRY = 3.0
OVERLOADED_RETRY = 1.0

_ADVICE = {
    ReleaseState.READY: "nothing is left to build: `semblance release activate {0}` serves with it",
    ReleaseState.ACTIVE: "it is served with already",
    ReleaseState.RETIRED: "create it anew under another id",
}


@dataclass(frozen=True, slots=True)
class Known:
    """A release as it was when the engine's time was last written down, by the monotonic clock; `kept_by` is as the
    function of that name gives it."""

    registered: Registered
    kept_by: str
    at: float


@dataclass(frozen=True, slots=True)
class Look:
    """What keeps a release from being prepared, "" where it is, at a moment of the monotonic clock."""

    problem: str
    at: float


class Builds:
    def __init__(self, ports: Ports, catalog: Catalog, pace: Pace, in_flight: int, queue: int) -> None:
        """At most `in_flight` items are worked on at once, for which `queue` more may wait."""
        self._ports = ports
        self._catalog = catalog
        self._pace = pace
        self._turns = asyncio.Semaphore(in_flight)
        self._in_flight = in_flight
        self._queue = queue
        self._waiting = 0
        self._known: dict[str, Known] = {}
        self._renewing = asyncio.Lock()
        self._looks: dict[Release, Look] = {}
        self._looking = asyncio.Lock()

    async def pending(self, release_id: str, page_size: int, page_token: str) -> IdPage:
        """The items that a live release's collection lacks, by id; none of one that is building and uses the collection
        of another one, which the service itself keeps.

        Raises NotFound where there is no such release, WrongState where it is retired, InvalidArgument where the token
        is not one of ours.
        """
        releases = await self._ports.registry.releases()
        found = _found(release_id, releases)
        if found.state not in LIVE:
            raise WrongState(f"release {release_id} is {found.state} and has no collection; {_ADVICE[found.state]}")
        if found.state is ReleaseState.BUILDING and kept_by(found, releases):
            return IdPage((), "")
        return await self._ports.metadata.pending(found.release.collection, page_size, page_token)

    async def build(self, release_id: str, item_id: str, deadline: Deadline) -> None:
        """Returns when the release's collection agrees with the catalogue about the item; it may have done so before.
        While the keeper prepares the release it waits for that.

        Raises NotFound where there is no such release, or never was such an item, WrongState where the release is not
        building, or uses the collection of another one, Overloaded where too many wait, DependencyUnavailable where the
        release is not prepared before the deadline, Conflict where others change the item again and again, and what
        describing and indexing it does.
        """
        release = await self._taking(release_id)
        async with self._turn(), self._renewed(release_id):
            await self._prepared(release, deadline)
            await self._bring_in(item_id, release)

    async def _taking(self, release_id: str) -> Release:
        """The release, if it takes items. Raises as `build` does where it does not."""
        known = await self._leased(release_id)
        registered = known.registered
        if registered.state is not ReleaseState.BUILDING:
            raise WrongState(
                f"release {release_id} is {registered.state}, and only one that is building takes items; "
                + _ADVICE[registered.state].format(release_id)
            )
        if known.kept_by:
            raise WrongState(
                f"release {release_id} uses the index of release {known.kept_by}, which the service itself keeps, and "
                f"nothing is to be built; `semblance release show {release_id}` tells whether it is ready"
            )
        return registered.release

    async def _leased(self, release_id: str) -> Known:
        """The release, which the keeper leaves to the engine from now on for a while, unless another one keeps its
        collection: puts write there with that one's detector, and mending beside them with this one's could take their
        rows away."""
        async with self._renewing:
            known = self._known.get(release_id)
            if known is None or time.monotonic() >= known.at + min(RENEW_SECONDS, LEASE_SECONDS / 3):
                now = time.monotonic()
                releases = await self._ports.registry.releases()
                registered = _found(release_id, releases)
                if not (other := kept_by(registered, releases)):
                    registered = await self._ports.registry.leave_outside(release_id, LEASE_SECONDS)
                known = self._known[release_id] = Known(registered, other, now)
        return known

    @asynccontextmanager
    async def _renewed(self, release_id: str) -> AsyncIterator[None]:
        """The keeper leaves the release to the engine for as long as this takes."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(LEASE_SECONDS / 3)
                # It is written down the next time.
                with suppress(SemblanceError):
                    await self._leased(release_id)

        renewing = asyncio.create_task(renew())
        try:
            yield
        finally:
            renewing.cancel()

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._turns.locked() and self._waiting >= self._queue:
            raise Overloaded(
                f"builds: {self._in_flight} items in flight and {self._waiting} waiting, which is all that may; try "
                f"again in {OVERLOADED_RETRY:g} s",
                OVERLOADED_RETRY,
            )
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turns.release()

    async def _prepared(self, release: Release, deadline: Deadline) -> None:
        """Waits until the keeper has made the collection, when the models are ready and all items enlisted."""
        while problem := await self._unprepared(release):
            if deadline.remaining() < PREPARE_POLL + PREPARE_REST:
                raise DependencyUnavailable(
                    f"release {release.release_id} is not prepared yet: the keeper loads its models and makes its "
                    f"collection; `semblance release show {release.release_id}` tells what keeps it from that "
                    f"({problem})",
                    PREPARE_RETRY,
                )
            await asyncio.sleep(PREPARE_POLL)
            # It may be retired meanwhile.
            await self._taking(release.release_id)

    async def _unprepared(self, release: Release) -> str:
        """Why it is not prepared, "" where it is. One looks for all who wait."""
        async with self._looking:
            look = self._looks.get(release)
            if look is None or (look.problem and time.monotonic() >= look.at + PREPARE_POLL):
                problem = ""
                try:
                    await self._ports.index.check(release, CALL_TIMEOUT)
                except (ContractMismatch, DependencyUnavailable) as error:
                    problem = str(error)
                look = self._looks[release] = Look(problem, time.monotonic())
        return look.problem

    async def _bring_in(self, item_id: str, release: Release) -> None:
        for _ in range(ATTEMPTS):
            known = (await self._ports.metadata.revisions(release.collection, [item_id])).get(item_id)
            if known is None:
                raise NotFound(f"there is no item {item_id!r}, and never was")
            revision, settled = known
            if settled:
                return
            async with self._pace.turn() as described:
                with suppress(Conflict):
                    if await self._catalog.mend(item_id, revision, release, described):
                        return
        raise Conflict(
            f"item {item_id!r} was changed by others {ATTEMPTS} times while it was built; go on with the others, it is "
            "built when it rests"
        )


def kept_by(registered: Registered, releases: Sequence[Registered]) -> str:
    """The id of an active or ready release that has the same collection, "" where there is none."""
    for each in releases:
        same = each.release.collection == registered.release.collection and each.release_id != registered.release_id
        if same and each.state in (ReleaseState.ACTIVE, ReleaseState.READY):
            return each.release_id
    return ""


def _found(release_id: str, releases: Sequence[Registered]) -> Registered:
    for each in releases:
        if each.release_id == release_id:
            return each
    raise NotFound(f"there is no release {release_id!r}; `semblance release list` names those there are")
