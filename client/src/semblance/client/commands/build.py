"""Building a release by Ray: the items that its index lacks go to workers, which have the service index them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from semblance.client._client import Client
from semblance.client._errors import (
    ConflictError,
    DeadlineExceededError,
    RetryableError,
    SemblanceError,
    WrongStateError,
)
from semblance.client._release_types import NewRelease, Release, ReleaseState
from semblance.client.commands.block import answers
from semblance.client.commands.ray_engine import RayEngine

RETRY_SECONDS = 1.0
"""Before the service is asked again, where it names no time."""


@dataclass(slots=True)
class Build:
    """What has come of the items so far: `failures` has the last error of each that failed."""

    release_id: str
    advance: Callable[[], None]
    failures: dict[str, Exception] = field(default_factory=dict)
    over: bool = False

    def settle(self, item_id: str, error: Exception | None) -> None:
        if isinstance(error, WrongStateError):
            # Somebody else has ended it: the keeper, with the last item, or who retires it.
            self.over = True
        elif error is None:
            self.failures.pop(item_id, None)
            self.advance()
        else:
            self.failures[item_id] = error


def created(client: Client, new: NewRelease) -> Release:
    """The release that is to be made, or is being built under that id already, for an engine to go on with."""
    try:
        return client.releases.create(new)
    except ConflictError:
        if new.release_id is None:
            raise
        found = client.releases.get(new.release_id)
        if found.state is not ReleaseState.BUILDING or not fits(found, new):
            raise
        return found


def fits(release: Release, new: NewRelease) -> bool:
    """Whether a release is what the options name."""
    index = release.index
    pairs = (
        (new.detector, release.detector.version),
        (new.embedder, release.embedder.version),
        (new.m, index.m),
        (new.ef_construction, index.ef_construction),
        (new.ef, index.ef),
        (new.metric, index.metric),
    )
    return all(wanted in (None, found) for wanted, found in pairs)


def distribute(engine: RayEngine, connect: Callable[[], Client], client: Client, build: Build) -> None:
    """Has workers build what is pending, again and again until nothing is, or nothing of it can be built. Without any,
    as where an index is kept, the engine is not started."""
    if not prepare(client, build):
        return
    with engine.started() as job:
        settled = True
        while settled and not build.over:
            settled = False
            pending = client.releases.pending(build.release_id)
            for item_id, error in job.map(partial(build_block, connect, build.release_id), pending, str):
                build.settle(item_id, error)
                settled |= error is None
                if build.over:
                    break


def prepare(client: Client, build: Build) -> bool:
    """Waits until the release takes items, and says whether it does; what it lacks first is the first that it gets."""
    for item_id in islice(client.releases.pending(build.release_id), 1):
        while True:
            try:
                [(_, error)] = client.releases.build_items(build.release_id, [item_id])
            except (RetryableError, DeadlineExceededError) as broken:
                error = broken
            if not isinstance(error, RetryableError | DeadlineExceededError):
                build.settle(item_id, error)
                return not build.over
            time.sleep(getattr(error, "retry_delay", None) or RETRY_SECONDS)
    return False


def build_block(connect: Callable[[], Client], release_id: str, item_ids: Sequence[str]) -> list[SemblanceError | None]:
    """In a worker: the error of each item that failed."""

    def send(client: Client, waiting: Sequence[str], found: dict[str, SemblanceError | None]) -> None:
        found.update(client.releases.build_items(release_id, waiting))

    return answers(connect, item_ids, send)
