"""Whether index and image store hold what the catalogue says, seen from outside of a service that goes on writing.

Nothing here writes to the index: what disagrees is unsettled in the metadata store, and the service mends it.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from semblance.orchestrator.catalog import row_key
from semblance.orchestrator.item import Item, same_attributes
from semblance.orchestrator.ports import ImageStore, IndexEntry, MetadataStore, StoredImage, VectorIndex
from semblance.orchestrator.release import Release

# Items looked at together, fewer where they have more than so many rows; one item has 6,400 at most.
ITEMS = 200
ROWS = 8000
# Of one call to the index, in seconds.
CALL_TIMEOUT = 30.0
# Between the two looks at what seems to disagree, in seconds: Milvus Lite hides the newest rows while it flushes.
SECOND_LOOK = 2.0
# An image that no item refers to may belong to a put under way, for so long.
GRACE = timedelta(hours=1)
# The first two hexadecimal digits of an image's id.
SHARDS = tuple(f"{number:02x}" for number in range(256))


@dataclass(frozen=True, slots=True)
class Disagreement:
    """An item of which the index lacks rows, has rows too many, or has rows with other attributes or another image.

    `waiting`: the metadata store knows already, and the service tries to mend it.
    """

    item_id: str
    missing: int
    extra: int
    stale: int
    waiting: bool


@dataclass(frozen=True, slots=True)
class CheckedItems:
    """A range of item ids, in the catalogue and in the index. `until` is its last id, None of the last range."""

    until: str | None
    items: int
    rows: int
    disagreements: tuple[Disagreement, ...]


@dataclass(frozen=True, slots=True)
class CheckedImages:
    """A 256th of the image store. Items refer to `lost` images, which are not there, and to no `unreferenced` one."""

    shard: str
    images: int
    lost: tuple[str, ...]
    unreferenced: tuple[StoredImage, ...]


class Verification:
    def __init__(self, metadata: MetadataStore, images: ImageStore, index: VectorIndex) -> None:
        self._metadata = metadata
        self._images = images
        self._index = index

    async def items(self, release: Release, after: str = "") -> AsyncIterator[CheckedItems]:
        """All items beyond an id, and all rows of the index that say to be of such an item.

        Raises ContractMismatch where the collection is not there or not as the release says.
        """
        await self._index.check(release, CALL_TIMEOUT)
        until: str | None = after
        limit = ITEMS
        while until is not None:
            items = await self._metadata.items_after(release.collection, after, limit)
            until = items[-1].item_id if len(items) == limit else None
            entries = await self._index.entries(release, after, until, ROWS, CALL_TIMEOUT)
            if len(entries) == ROWS and limit > 1:
                until, limit = after, limit // 2
                continue
            if len(entries) == ROWS:
                # Of more items that are not in the catalogue than can be looked at; they hide the one that is.
                items = []
            suspects = {each.item_id for each in compare(items, entries)}
            found = await self._still_disagreeing(release, after, until, suspects) if suspects else ()
            yield CheckedItems(until, len(items), len(entries), found)
            after, limit = until or "", ITEMS

    async def _still_disagreeing(
        self, release: Release, after: str, until: str | None, suspects: Collection[str]
    ) -> tuple[Disagreement, ...]:
        """Those of a range that disagree when looked at again, while nobody changes them."""
        await asyncio.sleep(SECOND_LOOK)
        collection = release.collection
        before = await self._metadata.revisions(collection, suspects)
        answers = await asyncio.gather(*(self._metadata.get(collection, item_id) for item_id in before))
        items = [known[0] for known in answers if known]
        entries = await self._index.entries(release, after, until, ROWS, CALL_TIMEOUT)
        now = await self._metadata.revisions(collection, suspects)
        steady = {item_id for item_id in suspects if before.get(item_id) == now.get(item_id)}
        waiting = {item_id for item_id, (_, settled) in now.items() if not settled}
        return compare(
            [item for item in items if item.item_id in steady],
            [entry for entry in entries if entry.item_id in steady],
            waiting,
        )

    async def images(self) -> AsyncIterator[CheckedImages]:
        for shard in SHARDS:
            # In this order: an image is there before an item refers to it.
            wanted = await self._metadata.image_ids(shard)
            stored = await self._images.list(shard)
            lost = wanted - {image.image_id for image in stored}
            old = datetime.now(UTC) - GRACE
            unreferenced = (image for image in stored if image.image_id not in wanted and image.written_at < old)
            yield CheckedImages(shard, len(wanted), tuple(sorted(lost)), tuple(unreferenced))

    async def collect(self, checked: CheckedImages) -> int:
        """Removes the unreferenced images, and returns how many.

        One that is put at this moment is kept: a put renews its image's age before an item refers to it.
        """
        wanted = await self._metadata.image_ids(checked.shard)
        old = datetime.now(UTC) - GRACE
        garbage = [image.image_id for image in checked.unreferenced if image.image_id not in wanted]
        return sum([await self._images.remove(image_id, old) for image_id in garbage])


def compare(
    items: Iterable[Item], entries: Iterable[IndexEntry], waiting: Collection[str] = ()
) -> tuple[Disagreement, ...]:
    """What the items' rows should be against the rows that there are, by item id."""
    expected = {
        row_key(item.item_id, image.image_id, number): (item, image.image_id)
        for item in items
        for image in item.images
        for number in range(image.vectors)
    }
    found = {entry.key: entry for entry in entries}
    missing = Counter(item.item_id for key, (item, _) in expected.items() if key not in found)
    extra = Counter(entry.item_id for key, entry in found.items() if key not in expected)
    stale = Counter(
        item.item_id
        for key, (item, image_id) in expected.items()
        if key in found and not _says(found[key], item, image_id)
    )
    return tuple(
        Disagreement(item_id, missing[item_id], extra[item_id], stale[item_id], item_id in waiting)
        for item_id in sorted(missing | extra | stale)
    )


def _says(entry: IndexEntry, item: Item, image_id: str) -> bool:
    return entry.image_id == image_id and same_attributes(entry.attributes, item.attributes)
