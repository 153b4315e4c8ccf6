"""What the service needs from outside. `adapters` has the real ones, `testing` hand-written fakes; both pass the
same contract tests.

Every method raises DependencyUnavailable where the other side does not answer, within `timeout` seconds where it
takes one.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from semblance.orchestrator.box import Box
from semblance.orchestrator.filter import Filter
from semblance.orchestrator.item import Attributes, AttributeType, CatalogSize, Item, Page
from semblance.orchestrator.release import ModelVersion, Release


class Batch(Protocol):
    """The input of one inference: room in the server's own transport, so that nothing is copied on the way."""

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """uint8 [B, *model.input.dims], to be filled."""
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
class Neighbour:
    """A row near a query. `similarity` is the cosine, -1 to 1; `attributes` are empty unless asked for."""

    item_id: str
    image_id: str
    box: Box
    similarity: float
    attributes: Attributes


class VectorIndex(Protocol):
    async def create(self, release: Release, timeout: float) -> None:
        """Makes the release's collection, empty, with its dimension and parameters; nothing where it is there."""
        ...

    async def check(self, release: Release, timeout: float) -> None:
        """Raises ContractMismatch unless the collection is there, with the right dimension; sees that it is loaded."""
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
    ) -> list[list[Neighbour]]:
        """For each of `vectors`, float32 [N, dimension], up to `limit` rows that meet `where`, most similar first."""
        ...


class ImageStore(Protocol):
    """Original files by the SHA-256 of their bytes."""

    async def write(self, image_id: str, data: bytes) -> None:
        """Returns when the bytes are durable. Writing again what is there is harmless."""
        ...

    async def read(self, image_id: str) -> bytes:
        """Raises NotFound where there is no such image."""
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

    async def write(self, item: Item) -> Written:
        """Stores an item, replacing what was there but its `created_at`.

        Raises InvalidArgument where an attribute has another type than the first value put under its name; an
        integer is stored as a double where the attribute is one.
        """
        ...

    async def remove(self, item_id: str) -> int:
        """Removes an item and returns the revision. Raises NotFound where there is none."""
        ...

    async def settle(self, item_id: str, revision: int) -> bool:
        """Says that the index agrees with a revision of an item, or with its removal.

        False where that revision is not the newest: two wrote to the index at once, and it may hold either's rows.
        The item then gets a new revision, which stays unsettled whatever the other one says.
        """
        ...

    async def unsettled(self, limit: int) -> Sequence[tuple[str, int]]:
        """Items (id, revision) whose index rows may disagree, oldest first; removed ones too."""
        ...

    async def postpone(self, item_id: str, revision: int) -> None:
        """Puts an unsettled item behind the others; nothing where it is settled or has another revision by now."""
        ...

    async def count(self) -> CatalogSize: ...

    async def list(self, page_size: int, page_token: str) -> Page:
        """Items by id. Raises InvalidArgument where the token is not one of ours."""
        ...

    async def attribute_types(self) -> Mapping[str, AttributeType]: ...

    async def active_release(self) -> Release | None: ...

    async def add_first_release(self, release: Release) -> Release:
        """Stores an active release unless there is one already, and returns the one that is active.

        Several orchestrators that start at once get the same one.
        """
        ...
