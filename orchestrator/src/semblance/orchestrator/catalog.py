"""Keeping the catalogue: the truth first, then the index, then the answer.

A put is acknowledged when its images and its item are durable and its vectors are in the index. What a crash leaves
between the truth and the index is marked *unsettled* in the metadata store and mended by `mend`, which also brings
every change into the collections of the other releases.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum

from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.errors import Conflict, NotFound, WrongState
from semblance.orchestrator.item import CatalogSize, Item, ItemDraft, ItemImage, Page, same_attributes
from semblance.orchestrator.pipeline import Description, Pipeline, Selection, Stopwatch
from semblance.orchestrator.ports import ImageStore, IndexRow, MetadataStore, VectorIndex
from semblance.orchestrator.release import Release

# Of one item. Its images go in one message (`grpc_edge.server.MAX_MESSAGE_BYTES`), of which the rest is given a MiB.
MAX_IMAGES = 64
MAX_BYTES = 63 * 2**20
# How long one item may take to be mended, in seconds.
MEND_TIMEOUT = 60.0


class Outcome(StrEnum):
    CREATED = "created"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"


@dataclass(slots=True)
class ItemLocks:
    """One change of an item at a time within this process; between processes the revision decides."""

    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    _users: dict[str, int] = field(default_factory=dict)

    @asynccontextmanager
    async def hold(self, item_id: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(item_id, asyncio.Lock())
        self._users[item_id] = self._users.get(item_id, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._users[item_id] -= 1
            if not self._users[item_id]:
                del self._users[item_id], self._locks[item_id]


class Catalog:
    def __init__(self, pipeline: Pipeline, metadata: MetadataStore, images: ImageStore, index: VectorIndex) -> None:
        self._pipeline = pipeline
        self._metadata = metadata
        self._images = images
        self._index = index
        self._locks = ItemLocks()

    async def put(
        self, draft: ItemDraft, release: Release, deadline: Deadline, described: Callable[[], None] = lambda: None
    ) -> Outcome:
        """Returns when the item is durable and searchable. Tells `described` when the models have done their part.

        Raises InvalidImage or InvalidArgument before anything is stored, Conflict where another process changes the
        item at the same time. Where it raises anything else the item may be stored or not; putting it again is right in
        either case.
        """
        async with self._locks.hold(draft.item_id):
            revision, _ = await self._newest(draft.item_id, release)
            return await self._put(draft, revision, release, deadline, described)

    async def add_image(self, item_id: str, data: bytes, release: Release, deadline: Deadline) -> Outcome:
        """Puts an item again with one more image behind those it has, unless it is among them.

        Raises NotFound where there is no such item, WrongState where its images are as many, or have as many bytes, as
        they may, and as `put`.
        """
        async with self._locks.hold(item_id):
            # Before the item is read: who changes it from then on is not overwritten.
            revision, _ = await self._newest(item_id, release)
            item = await self.get(item_id, release)
            files = await self._files_with(item, data)
            draft = ItemDraft(item_id, item.attributes, files)
            return await self._put(draft, revision, release, deadline)

    async def get(self, item_id: str, release: Release) -> Item:
        known = await self._metadata.get(release.collection, item_id)
        if known is None:
            raise NotFound(f"there is no item {item_id!r}")
        return known[0]

    async def image(self, image_id: str) -> bytes:
        return await self._images.read(image_id)

    async def delete(self, item_id: str, release: Release, deadline: Deadline, repeated: bool = False) -> None:
        """Raises NotFound where there is no such item, unless this is `repeated`: the attempt before may have deleted
        it, and have died before the index followed."""
        async with self._locks.hold(item_id):
            revision, settled = await self._newest(item_id, release)
            try:
                revision = await self._metadata.remove(item_id, revision)
            except NotFound:
                if not repeated:
                    raise
                if settled:
                    # Nothing is left to do, and the rows of who puts the item now would be mended by nobody. A put on
                    # top of what is unsettled is disputed, and mended later.
                    return
            await self._index.delete(release, item_id, (), deadline.remaining())
            # Where somebody put the item meanwhile it stays unsettled, and is mended.
            await self._metadata.settle(release.collection, item_id, revision)

    async def count(self, release: Release) -> CatalogSize:
        return await self._metadata.count(release.collection)

    async def list(self, page_size: int, page_token: str, release: Release) -> Page:
        return await self._metadata.list(release.collection, page_size, page_token)

    async def mend(
        self, item_id: str, revision: int, release: Release, described: Callable[[], None] = lambda: None
    ) -> bool:
        """Makes the release's collection agree with the truth about one item. Tells `described` as `put` does.

        False, and nothing is done, where it agrees already, or the revision is not the newest. Raises Conflict where
        the item was changed meanwhile, and as describing and indexing it do.
        """
        deadline = Deadline.after(MEND_TIMEOUT)
        collection = release.collection
        async with self._locks.hold(item_id):
            if await self._metadata.revisions(collection, [item_id]) != {item_id: (revision, False)}:
                # It has settled, or was changed, while others were mended.
                return False
            known = await self._metadata.get(collection, item_id)
            if known is None:
                await self._index.delete(release, item_id, (), deadline.remaining())
                await self._metadata.settle(collection, item_id, revision)
                return True
            item = known[0]
            descriptions = await self._describe_stored(item, release, deadline)
            described()
            await self._index_item(item, descriptions, revision, release, deadline)
            return True

    async def describe(self, item: Item, release: Release) -> None:
        """Does what an item costs to be indexed, but for the index, to see how long that takes."""
        await self._describe_stored(item, release, Deadline.after(MEND_TIMEOUT))

    async def _files_with(self, item: Item, data: bytes) -> tuple[bytes, ...]:
        """The item's images, and this one behind them unless it is among them. Raises WrongState as `add_image`."""
        image_id = hashlib.sha256(data).hexdigest()
        # A put may bring somewhat more than MAX_BYTES, which an item that gets nothing more may keep.
        grows = image_id not in {image.image_id for image in item.images}
        files = dict.fromkeys([*(image.image_id for image in item.images), image_id], data)
        if len(files) > MAX_IMAGES:
            raise WrongState(f"item {item.item_id!r} has {MAX_IMAGES} images, and may have no more")
        size = len(data)
        # One after another: no more is read than there may be.
        for each in [other for other in files if other != image_id]:
            files[each] = await self._images.read(each)
            size += len(files[each])
            if grows and size > MAX_BYTES:
                raise WrongState(
                    f"the images of item {item.item_id!r} would have more than {MAX_BYTES >> 20} MiB with this one, "
                    "and may have no more than one message carries; put it with fewer or smaller ones"
                )
        return tuple(files.values())

    async def _put(
        self,
        draft: ItemDraft,
        revision: int,
        release: Release,
        deadline: Deadline,
        described: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """`put` by who holds the item's lock, and knows this revision."""
        files = {hashlib.sha256(data).hexdigest(): data for data in draft.images}
        known = await self._metadata.get(release.collection, draft.item_id)
        if known is not None and known[1] and _says(known[0], draft, files):
            return Outcome.UNCHANGED
        descriptions = await self._describe(list(files.values()), release, deadline)
        described()
        await asyncio.gather(*(self._images.write(image_id, data) for image_id, data in files.items()))
        item = _item(draft, dict(zip(files, descriptions, strict=True)))
        written = await self._metadata.write(item, revision)
        typed = replace(item, attributes=written.attributes)
        await self._index_item(typed, descriptions, written.revision, release, deadline)
        return Outcome.CREATED if known is None else Outcome.REPLACED

    async def _newest(self, item_id: str, release: Release) -> tuple[int, bool]:
        """The revision, 0 of an item that never was, and whether it is settled."""
        return (await self._metadata.revisions(release.collection, [item_id])).get(item_id, (0, True))

    async def _describe_stored(self, item: Item, release: Release, deadline: Deadline) -> Sequence[Description]:
        files = await asyncio.gather(*(self._images.read(image.image_id) for image in item.images))
        return await self._describe(files, release, deadline)

    async def _describe(self, files: Sequence[bytes], release: Release, deadline: Deadline) -> Sequence[Description]:
        # One after another: decoded, the images of one item may be gigabytes.
        return [await self._pipeline.describe(data, Selection(), release, deadline, Stopwatch()) for data in files]

    async def _index_item(
        self,
        item: Item,
        descriptions: Sequence[Description],
        revision: int,
        release: Release,
        deadline: Deadline,
    ) -> None:
        """Writes the item's rows, removes those it had before, and settles it."""
        rows = _rows(item, descriptions)
        await self._index.upsert(release, rows, deadline.remaining())
        await self._index.delete(release, item.item_id, {row.key for row in rows}, deadline.remaining())
        images = _images({image.image_id: each for image, each in zip(item.images, descriptions, strict=True)})
        if not await self._metadata.settle(release.collection, item.item_id, revision, images):
            raise Conflict(f"item {item.item_id!r} was changed by somebody else at the same time; put it again")


def _says(item: Item, draft: ItemDraft, image_ids: Iterable[str]) -> bool:
    """Whether the stored item is what the draft wants it to be."""
    return same_attributes(item.attributes, draft.attributes) and [image.image_id for image in item.images] == [
        *image_ids
    ]


def _item(draft: ItemDraft, descriptions: dict[str, Description]) -> Item:
    now = datetime.now(UTC)
    return Item(draft.item_id, draft.attributes, _images(descriptions), now, now)


def _images(descriptions: dict[str, Description]) -> tuple[ItemImage, ...]:
    return tuple(
        ItemImage(image_id, description.width, description.height, len(description.regions))
        for image_id, description in descriptions.items()
    )


def _rows(item: Item, descriptions: Sequence[Description]) -> list[IndexRow]:
    return [
        IndexRow(
            key=row_key(item.item_id, image.image_id, number),
            item_id=item.item_id,
            image_id=image.image_id,
            box=region.box,
            attributes=item.attributes,
            vector=vector,
        )
        for image, description in zip(item.images, descriptions, strict=True)
        for number, (region, vector) in enumerate(zip(description.regions, description.vectors, strict=True))
    ]


def row_key(item_id: str, image_id: str, number: int) -> str:
    """The primary key of one object's row: the same for the same item, image and object, so that replays overwrite."""
    return hashlib.sha256(f"{item_id}\0{image_id}\0{number}".encode()).hexdigest()[:40]
