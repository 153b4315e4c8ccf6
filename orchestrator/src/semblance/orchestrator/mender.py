"""Bringing what is unsettled into the collections: what a crash left, and every change into the other releases'."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

from semblance.orchestrator.catalog import Catalog
from semblance.orchestrator.errors import Conflict, Retryable, SemblanceError
from semblance.orchestrator.ports import MetadataStore
from semblance.orchestrator.release import Release

log = logging.getLogger(__name__)

# Unsettled items mended in one round, and at once: most of the time Milvus is waited for. Fewer are at the models,
# which searches need, with their images in memory.
BATCH = 100
IN_FLIGHT = 16
AT_MODELS = 4
# Between two looks at whether others are still served, for who rests meanwhile, in seconds.
LOOK = 0.05
# Until what does not answer is tried again, in seconds.
DOWN_SECONDS = 2.0
# Mended items from whose moments the rate follows.
RATED = 50


class Pace:
    """How much of the models' time is taken while `busy` says that searches are served: `share`, above 0 up to 1."""

    def __init__(self, share: float, busy: Callable[[], bool]) -> None:
        self._share = share
        self._busy = busy
        self._at_models = asyncio.Semaphore(AT_MODELS)
        self._rest_until = 0.0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Callable[[], None]]:
        """What is yielded is to be called when the models have done their part; leaving does it otherwise."""
        await self._at_models.acquire()
        began: float | None = None

        def leave() -> None:
            nonlocal began
            if began is not None:
                now = time.monotonic()
                # What was done while nobody was served is no debt.
                if self._busy():
                    self._rest_until = max(self._rest_until, now) + (now - began) * (1 / self._share - 1)
                began = None
                self._at_models.release()

        try:
            while self._busy() and (rest := self._rest_until - time.monotonic()) > 0:
                await asyncio.sleep(min(rest, LOOK))
        except BaseException:
            self._at_models.release()
            raise
        began = time.monotonic()
        try:
            yield leave
        finally:
            leave()


class Mender:
    """Of one collection. `rate` is how many items a second it mends, 0 before it has; `problem` is the last
    failure of an item that was not mended since, "" where there is none."""

    def __init__(self, catalog: Catalog, metadata: MetadataStore, release: Release, pace: Pace, seconds: float) -> None:
        """Mends what is unsettled for so many seconds; with some, what is merely on its way settles by itself."""
        self._catalog = catalog
        self._metadata = metadata
        self._release = release
        self._pace = pace
        self._age = timedelta(seconds=seconds)
        self._turns = asyncio.Semaphore(IN_FLIGHT)
        # What could not be mended when it was last tried, by item, and why.
        self._failing: dict[str, str] = {}
        # Why nothing can be mended now, as far as the last round has found.
        self._down = ""
        self._said = ""
        # When the last items were mended, by the monotonic clock.
        self._ends: deque[float] = deque(maxlen=RATED)

    @property
    def problem(self) -> str:
        return next(reversed(self._failing.values()), "")

    @property
    def rate(self) -> float:
        if len(self._ends) < 2:
            return 0.0
        return (len(self._ends) - 1) / max(self._ends[-1] - self._ends[0], 1e-6)

    async def run(self, poll: float) -> None:
        """For ever, with a look every so many seconds while there is nothing to do."""
        while True:
            if not await self.round() or self._down:
                await asyncio.sleep(max(poll, DOWN_SECONDS) if self._down else poll)

    async def round(self) -> bool:
        """Whether anything was mended."""
        collection = self._release.collection
        mended = 0
        self._down = ""
        try:
            due = await self._metadata.unsettled(collection, BATCH, datetime.now(UTC) - self._age)
            if not due:
                # What failed was settled by others.
                self._failing.clear()
            mended = sum(await asyncio.gather(*(self._try(*each) for each in due)))
            if self._down != self._said:
                self._said = self._down
                if self._down:
                    log.warning("items can't be indexed in %s, and are tried again: %s", collection, self._down)
        except SemblanceError as error:
            log.warning("the metadata store did not say which items are to be mended: %s", error)
        except Exception:
            log.exception("a round of mending failed, and is tried again")
        if mended:
            # Of a build its progress tells; here something went wrong before.
            log.log(logging.INFO if self._age else logging.DEBUG, "indexed %d items in %s", mended, collection)
        return mended > 0

    async def _try(self, item_id: str, revision: int) -> bool:
        """Whether it was mended."""
        async with self._turns:
            try:
                async with self._pace.turn() as described:
                    if self._down:
                        return False
                    await self._catalog.mend(item_id, revision, self._release, described)
                self._ends.append(time.monotonic())
                self._failing.pop(item_id, None)
                return True
            except Conflict:
                # Somebody else changed it, or its collection was replaced: the item is not to blame, keeps its place.
                return False
            except Retryable as error:
                # All others would fail as well.
                self._down = str(error)
                self._failing[item_id] = f"item {item_id!r} can't be indexed: {error}"
            except SemblanceError as error:
                self._failing[item_id] = f"item {item_id!r} can't be indexed: {error}"
                log.warning("item %r could not be mended, and is tried again: %s", item_id, error)
            except Exception:
                self._failing[item_id] = f"item {item_id!r} can't be indexed; the keeper's log says why"
                log.exception("item %r could not be mended, and is tried again", item_id)
            # Not postponed, it is only tried again sooner.
            with suppress(SemblanceError):
                await self._metadata.postpone(self._release.collection, item_id, revision)
            return False
