"""The metadata store, the registry and the feedback of one database, or of one memory."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from semblance.orchestrator.adapters.metadata import Database, SqlFeedbackStore, SqlMetadataStore, SqlRegistry
from semblance.orchestrator.item import Attributes, Item, ItemImage
from semblance.orchestrator.ports import FeedbackStore, MetadataStore, Registry
from semblance.orchestrator.release import Release
from semblance.orchestrator.testing import example_release

EARLY = datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=UTC)

IMAGES = (ItemImage("a" * 64, 640, 480, 2), ItemImage("b" * 64, 1, 1, 1))

RELEASE = example_release()
HERE = RELEASE.collection


@dataclass(frozen=True, slots=True)
class Stores:
    metadata: MetadataStore
    registry: Registry
    feedback: FeedbackStore


Open = Callable[[], Stores]


@asynccontextmanager
async def opened(url: str, longest_write: float = 0.0) -> AsyncIterator[Open]:
    """Opens a database again, as another orchestrator does; nobody but the test writes to the index."""
    async with AsyncExitStack() as stack:

        def make() -> Stores:
            database = Database(url)
            stack.push_async_callback(database.close)
            return Stores(SqlMetadataStore(database, longest_write), SqlRegistry(database), SqlFeedbackStore(database))

        yield make


def item(item_id: str, attributes: Attributes | None = None, images: tuple[ItemImage, ...] = IMAGES) -> Item:
    return Item(item_id, attributes or {}, images, EARLY, EARLY)


def another_release(release_id: str, collection: str | None = None) -> Release:
    """With a collection of its own."""
    return replace(RELEASE, release_id=release_id, collection=f"of_{release_id}" if collection is None else collection)


def moment_after() -> datetime:
    """Later than whatever was done before, by a clock that does not tell what happens within a microsecond."""
    before = datetime.now(UTC)
    while (now := datetime.now(UTC)) == before:
        pass
    return now
