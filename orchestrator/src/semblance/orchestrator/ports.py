"""What the service needs from outside. `adapters` has the real ones, `testing` hand-written fakes; both pass the
same contract tests.

Every method raises DependencyUnavailable where the other side does not answer, within `timeout` seconds where it
takes one.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from semblance.orchestrator.box import Box
from semblance.orchestrator.filter import Filter
from semblance.orchestrator.item import Attributes, AttributeType, CatalogSize, Item, ItemImage, Page
from semblance.orchestrator.release import ModelVersion, Release


class Batch(Protocol):
    """The input of one inference: room in the server's own transport, so that nothing is copied on the way."""

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """uint8 [B, *model.input.dims], to be filled, by one thread.

        Others' inputs that go with this one wait from when this is first read: read it when the rest is ready.
        """
        ...

    async def infer(self, timeout: float) -> NDArray[np.float32]:
        """One output row for each row of the input. Called once, when nobody writes to it any more.

        Raises ContractMismatch where the model is not there or answers in another shape, DeadlineExceeded after
        `timeout` seconds.
        """
        ...


class InferenceServer(Protocol):
    def batch(self, model: ModelVersion, rows: int) -> AbstractContextManager[Batch]:
        """Room for the input of one inference with `rows` ≤ model.max_batch_size, while inside."""
        ...

    async def check(self, model: ModelVersion, timeout: float) -> None:
        """Raises ContractMismatch unless this very version is ready with the names, types and shapes it should have."""
        ...

    async def ready_versions(self, name: str, timeout: float) -> tuple[int, ...]:
        """The versions of a model that are ready, ascending."""
        ...


class ModelRepository(Protocol):
    """The published models, beside the server that runs them."""

    async def describe(self, name: str, version: int) -> ModelVersion:
        """What the manifest says. Raises NotFound where there is none, ContractMismatch where it can't be read."""
        ...

    async def verify(self, model: ModelVersion) -> None:
        """Raises ContractMismatch unless the model file's bytes are those that were published."""
        ...


@dataclass(frozen=True, slots=True)
class IndexRow:
    """One vector of the index: an object of an image of an item. Rows with the same `key` replace each other."""

    key: str
    item_id: str
    image_id: str
    box: Box
    attributes: Attributes
    vector: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """What a row of the index says beside its vector."""

    key: str
    item_id: str
    image_id: str
    box: Box
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A row near a query. `similarity` is the cosine, -1 to 1; `attributes` are empty unless asked for."""

    item_id: str
    image_id: str
    box: Box
    similarity: float
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The rows near one query, most similar first. Of few of many rows more is read than the two columns: `row` makes
    one, by its number."""

    item_ids: Sequence[str]
    similarities: Sequence[float]
    row: Callable[[int], Neighbour]

    def __len__(self) -> int:
        return len(self.item_ids)

    def __iter__(self) -> Iterator[Neighbour]:
        return map(self.row, range(len(self)))

    @classmethod
    def of(cls, rows: Sequence[Neighbour]) -> Self:
        return cls([row.item_id for row in rows], [row.similarity for row in rows], rows.__getitem__)


class VectorIndex(Protocol):
    async def create(self, release: Release, timeout: float) -> None:
        """Makes the release's collection, empty, with its dimension and parameters; nothing where it is there."""
        ...

    async def check(self, release: Release, timeout: float) -> None:
        """Raises ContractMismatch unless the collection is there, made for the release's embedder and with its
        dimension; sees that it is loaded."""
        ...

    async def upsert(self, release: Release, rows: Sequence[IndexRow], timeout: float) -> None:
        """Writes rows. Each is searchable, replaying is harmless."""
        ...

    async def delete(self, release: Release, item_id: str, keep: Collection[str], timeout: float) -> None:
        """Removes an item's rows but those whose key is in `keep`."""
        ...

    async def search(
        self,
        release: Release,
        vectors: NDArray[np.float32],
        limit: int,
        where: Filter | None,
        include_attributes: bool,
        timeout: float,
    ) -> list[Neighbours]:
        """For each of `vectors`, float32 [N, dimension], up to `limit` rows that meet `where`, most similar first."""
        ...

    async def entries(
        self, release: Release, after: str, until: str | None, limit: int, timeout: float
    ) -> Sequence[IndexEntry]:
        """Up to `limit` rows of the items whose id is beyond `after`, and not beyond `until`, in no order.

        Ids are in the order of code points; `until` None: to the end.
        """
        ...

    async def drop(self, release: Release, timeout: float) -> None:
        """Removes the release's collection; nothing where it is not there."""
        ...


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A file of the image store: an image, or what a killed writer left, whose id is no digest."""

    image_id: str
    size: int
    written_at: datetime


class ImageStore(Protocol):
    """Original files by the SHA-256 of their bytes."""

    async def write(self, image_id: str, data: bytes) -> None:
        """Returns when the bytes are durable. Writing again what is there is harmless, and renews `written_at`."""
        ...

    async def read(self, image_id: str) -> bytes:
        """Raises NotFound where there is no such image."""
        ...

    async def list(self, shard: str) -> Sequence[StoredImage]:
        """Those whose id begins with `shard`, two hexadecimal digits."""
        ...

    async def remove(self, image_id: str, before: datetime) -> bool:
        """Removes a file last written before that moment; False where it was written since, or is not there."""
        ...


@dataclass(frozen=True, slots=True)
class Written:
    """The newest revision of an item, and its attributes as they are stored."""

    revision: int
    attributes: Attributes


class MetadataStore(Protocol):
    """The truth about items and releases.

    A write of an item happens in two steps, so that an index that was not reached is mended later: `write` or
    `remove` makes the new truth durable and marks the item *unsettled*; `settle` takes the mark away once the index
    agrees.
    """

    async def get(self, item_id: str) -> tuple[Item, bool] | None:
        """The item and whether it is settled."""
        ...

    async def write(self, item: Item, after: int | None = None) -> Written:
        """Stores an item, replacing what was there but its `created_at`.

        `after`: the revision that the writer knows, 0 of an item that never was. Raises Conflict where it is not the
        newest, so that a write that was given up, and comes through all the same, changes nothing that came later.
        Raises InvalidArgument where an attribute has another type than the first value put under its name; an
        integer is stored as a double where the attribute is one.
        """
        ...

    async def remove(self, item_id: str, after: int | None = None) -> int:
        """Removes an item and returns the revision. Raises NotFound where there is none, Conflict as `write` does."""
        ...

    async def settle(self, item_id: str, revision: int, release: Release, images: Sequence[ItemImage] = ()) -> bool:
        """Says that the release's collection agrees with a revision of an item, or with its removal.

        `images` are those that have another number of vectors by now than was written.

        True, though it stays unsettled for a while, where the revision before was not settled when this one was made:
        its writer may still come, and nobody would know. The item is mended once more when that time has passed.

        False where that revision is not the newest: two wrote to the index at once, and it may hold either's rows. The
        item then gets a new revision, which stays unsettled whatever the other one says.

        False, too, where the active release has another collection by now: nothing is known of that one, and nothing
        changes.
        """
        ...

    async def unsettled(self, limit: int, before: datetime | None = None) -> Sequence[tuple[str, int]]:
        """Items (id, revision) whose index rows may disagree, oldest first; removed ones too.

        `before`: only those that were changed, or postponed, before that moment.
        """
        ...

    async def count_unsettled(self, before: datetime) -> int: ...

    async def unsettle(self, item_ids: Collection[str]) -> None:
        """Says that the index was found to disagree about these, whether there are such items or not."""
        ...

    async def revisions(self, item_ids: Collection[str]) -> Mapping[str, tuple[int, bool]]:
        """The newest revision of each, and whether it is settled; those that never were are left out."""
        ...

    async def postpone(self, item_id: str, revision: int) -> None:
        """Puts an unsettled item behind the others; nothing where it is settled or has another revision by now."""
        ...

    async def count(self) -> CatalogSize: ...

    async def list(self, page_size: int, page_token: str) -> Page:
        """Items by id. Raises InvalidArgument where the token is not one of ours."""
        ...

    async def items_after(self, item_id: str, limit: int) -> Sequence[Item]:
        """The next items by id, in the order of code points."""
        ...

    async def image_ids(self, shard: str) -> frozenset[str]:
        """The images of all items whose id begins with `shard`, two hexadecimal digits."""
        ...

    async def attribute_types(self) -> Mapping[str, AttributeType]: ...

    async def indexed(self) -> bool:
        """Whether there is any item that the index should hold, because it is settled."""
        ...

    async def active_release(self) -> Release | None: ...

    async def add_first_release(self, release: Release) -> Release:
        """Stores an active release unless there is one already, and returns the one that is active.

        Several orchestrators that start at once get the same one.
        """
        ...

    async def replace_collection(self, collection: str) -> Release:
        """Gives the active release another collection, which is empty as yet: every item becomes unsettled.

        Raises NotFound where no release is active.
        """
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """All of them. `models` serve the same ones, by the names that an operator knows them by."""

    models: Mapping[str, InferenceServer]
    repository: ModelRepository
    index: VectorIndex
    metadata: MetadataStore
    images: ImageStore
