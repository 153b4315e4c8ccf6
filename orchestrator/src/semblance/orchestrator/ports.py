"""What the service needs from outside. `adapters` has the real ones, `testing` hand-written fakes; both pass the
same contract tests.

Every method raises DependencyUnavailable where the other side does not answer, within `timeout` seconds where it
takes one.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from semblance.orchestrator.box import Box
from semblance.orchestrator.evaluation import Evaluation
from semblance.orchestrator.feedback import Choice, Feedback, FeedbackPage, Tally
from semblance.orchestrator.filter import Filter
from semblance.orchestrator.item import Attributes, AttributeType, CatalogSize, IdPage, Item, ItemImage, Page
from semblance.orchestrator.release import Canary, ModelVersion, Presence, Registered, Release


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


@dataclass(frozen=True, slots=True)
class TransportUse:
    """How many inputs have reached a server since the process started, by the way that they took, and its slots of
    shared memory: those there are, and those that are free."""

    inputs: Mapping[str, int]
    slots: int = 0
    free: int = 0


class ModelServer(InferenceServer, Protocol):
    """One server, and what it serves."""

    def transport_use(self) -> TransportUse: ...

    async def load(self, name: str, versions: Collection[int], config: str, timeout: float) -> None:
        """Serves exactly these versions of a model, warmed at every batch size, or none of it where there are none.

        `config` is the repository's, see `ModelRepository.config`. Versions that are served already go on serving
        meanwhile, though Triton loads them anew too: ask for it only where something is to change. Whose version is
        left out is turned away at once. Raises ContractMismatch where a version is not
        there or can't be served; those that were served before still are.
        """
        ...


@dataclass(frozen=True, slots=True)
class Golden:
    """Inputs of a model, uint8 [N, *model.input.dims], and what the published model answered to them when it was
    exported, float32 [N, *model.output.dims]."""

    inputs: NDArray[np.uint8]
    outputs: NDArray[np.float32]


class ModelRepository(Protocol):
    """The published models, beside the server that runs them. `model` is "detector" or "embedder"."""

    async def describe(self, model: str, version: int) -> ModelVersion:
        """What the manifest says. Raises NotFound where there is none, ContractMismatch where it can't be read."""
        ...

    async def config(self, name: str) -> str:
        """Triton's configuration of a folder, such as `embedder_384`, as JSON. Raises as `describe` does."""
        ...

    async def newest(self, model: str) -> ModelVersion:
        """The version with the highest number. Raises NotFound where there is none, ContractMismatch where it can't be
        described."""
        ...

    async def golden(self, model: ModelVersion) -> Golden | None:
        """None where it was exported without; raises ContractMismatch where they are not those that were published."""
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
    # float32 [rows, dimension], where they were asked for.
    vectors: NDArray[np.float32] | None = None

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
        include_vectors: bool = False,
    ) -> list[Neighbours]:
        """For each of `vectors`, float32 [N, dimension], up to `limit` rows that meet `where`, most similar by the
        release's metric first."""
        ...

    async def entries(
        self, release: Release, after: str, until: str | None, limit: int, timeout: float
    ) -> Sequence[IndexEntry]:
        """Up to `limit` rows of the items whose id is beyond `after`, and not beyond `until`, in no order.

        Ids are in the order of code points; `until` None: to the end.
        """
        ...

    async def count(self, release: Release, timeout: float) -> int:
        """The rows of the release's collection, all writes before taken in."""
        ...

    async def drop(self, collection: str, timeout: float) -> None:
        """Removes a collection; nothing where it is not there."""
        ...


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A file of the image store: an image, or what a killed writer left, whose id is no digest."""

    image_id: str
    size: int
    written_at: datetime


class ImageStore(Protocol):
    """Original files by the SHA-256 of their bytes."""

    @property
    def removes_exactly(self) -> bool:
        """Whether `remove` spares what is written at the same moment; where not, it may take a new file for the old."""
        ...

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
    """The truth about items, and what each collection lacks of it.

    A write of an item happens in two steps, so that an index that was not reached is mended later: `write` or
    `remove` makes the new truth durable and marks the item *unsettled* in the collection of every release that is
    building, ready or active; `settle` takes the mark of one collection away once it agrees.

    What an item's images have in vectors is told of one collection: another release's models may find other objects.
    """

    async def get(self, collection: str, item_id: str) -> tuple[Item, bool] | None:
        """The item and whether it is settled in the collection."""
        ...

    async def write(self, item: Item, after: int | None = None) -> Written:
        """Stores an item, replacing what was there but its `created_at`; its images' `vectors` count when it settles.

        `after`: the revision that the writer knows, 0 of an item that never was. Raises Conflict where it is not the
        newest, so that a write that was given up, and comes through all the same, changes nothing that came later.
        Raises InvalidArgument where an attribute has another type than the first value put under its name; an
        integer is stored as a double where the attribute is one.
        """
        ...

    async def remove(self, item_id: str, after: int | None = None) -> int:
        """Removes an item and returns the revision. Raises NotFound where there is none, Conflict as `write` does."""
        ...

    async def settle(self, collection: str, item_id: str, revision: int, images: Sequence[ItemImage] = ()) -> bool:
        """Says that a collection agrees with a revision of an item, whose images have so many vectors there, or with
        its removal.

        True, though it stays unsettled for a while, where the revision before was not settled when this one was made:
        its writer may still come, and nobody would know. The item is mended once more when that time has passed.

        False where that revision is not the newest. In the active release's collection two wrote at once, and it may
        hold either's rows: the item gets a new revision, which stays unsettled everywhere whatever the other one says.
        Others are written to by the mender alone: the item is unsettled there, and nothing else changes.

        True, too, where no live release has the collection: nobody searches it any more, and nothing changes.
        """
        ...

    async def unsettled(self, collection: str, limit: int, before: datetime | None = None) -> Sequence[tuple[str, int]]:
        """Items (id, revision) that the collection may disagree about, whose turn is first; removed ones too.

        `before`: only those that were changed, or postponed, before that moment.
        """
        ...

    async def count_unsettled(self, collection: str, before: datetime) -> int:
        """Those that were changed before that moment; those not enlisted yet are among them."""
        ...

    async def count_due(self, collection: str, before: datetime) -> int:
        """The same but for those that were postponed since."""
        ...

    async def enlist(self, collection: str) -> bool:
        """Marks the next items of the catalogue as unsettled in a collection that is to hold all of it, some thousands;
        False where all are. It goes on where it, or another process, stopped."""
        ...

    async def unsettle(self, collection: str, item_ids: Collection[str]) -> None:
        """Says that the collection was found to disagree about these, whether there are such items or not."""
        ...

    async def revisions(self, collection: str, item_ids: Collection[str]) -> Mapping[str, tuple[int, bool]]:
        """The newest revision of each, and whether it is settled there; those that never were are left out."""
        ...

    async def postpone(self, collection: str, item_id: str, revision: int) -> None:
        """Puts an unsettled item behind the others; nothing where it is settled or has another revision by now."""
        ...

    async def count_items(self) -> int: ...

    async def count(self, collection: str) -> CatalogSize: ...

    async def list(self, collection: str, page_size: int, page_token: str) -> Page:
        """Items by id. Raises InvalidArgument where the token is not one of ours."""
        ...

    async def pending(self, collection: str, page_size: int, page_token: str) -> IdPage:
        """What may be mended now, those not enlisted yet among them, by id, in the order of code points. Raises
        InvalidArgument as `list` does."""
        ...

    async def items_after(self, collection: str, item_id: str, limit: int) -> Sequence[Item]:
        """The next items by id, in the order of code points."""
        ...

    async def image_ids(self, shard: str) -> frozenset[str]:
        """The images of all items, and the photos of feedback, whose id begins with `shard`, two hexadecimal digits."""
        ...

    async def attribute_types(self) -> Mapping[str, AttributeType]: ...

    async def indexed(self, collection: str) -> bool:
        """Whether there is any item that the collection should hold, because it is settled there."""
        ...


class Registry(Protocol):
    """The truth about releases, in the same database as the items, and what orchestrators tell each other.

    A change of a release's state raises NotFound where there is no such release, and WrongState where the state does
    not allow it; the text says what it is and what to do.
    """

    async def releases(self) -> Sequence[Registered]:
        """All that ever were, the oldest first."""
        ...

    async def active_release(self) -> Release | None: ...

    async def add_first_release(self, release: Release) -> Release:
        """Stores an active release unless there is one already, and returns the one that is active.

        Several orchestrators that start at once get the same one.
        """
        ...

    async def add_release(self, release: Release, outside: float = 0.0) -> Registered:
        """Stores a release that is building, for the first `outside` seconds by an outside engine. Its collection is to
        hold the whole catalogue, unless it is that of another live release. Raises Conflict where the id is taken."""
        ...

    async def leave_outside(self, release_id: str, seconds: float) -> Registered:
        """An outside engine builds it for so many seconds from now, whatever was said before; nothing changes where it
        is not building. Returns what it is now. Raises NotFound where there is no such release."""
        ...

    async def set_ready(self, release_id: str, before: datetime) -> None:
        """building → ready. Raises WrongState, too, where its collection has not settled what was changed before that
        moment: what changes all the time is always on its way."""
        ...

    async def activate(self, release_id: str) -> Registered:
        """ready → active, and the active one → ready, at once. The release is nobody's canary or shadow then.

        Nothing changes where it is active already. Returns what it is now.
        """
        ...

    async def roll_back(self) -> Registered:
        """Activates the release that the active one replaced, without its becoming the one to roll back to. Raises
        WrongState where there is none, or it is not ready."""
        ...

    async def retire(self, release_id: str) -> Registered:
        """building or ready → retired. Its collection is discarded, unless another live release has it.

        Raises WrongState where it is active, a canary or a shadow.
        """
        ...

    async def set_canary(self, release_id: str, canary: Canary | None) -> Registered:
        """Of a ready release; None ends it. Raises WrongState where another one is the canary. What was observed of
        the release before it became canary or shadow is forgotten."""
        ...

    async def set_shadow(self, release_id: str, percent: float) -> Registered:
        """Of a ready release; 0 ends it. Raises WrongState where another one is the shadow. Forgets as `set_canary`."""
        ...

    async def note(self, release_id: str, problem: str, rate: float) -> None:
        """How the build of a release gets on; nothing where it is not building."""
        ...

    async def replace_collection(self, collection: str) -> Release:
        """Gives the active release another collection, which is to hold the whole catalogue, and discards its own as
        `retire` does. Raises NotFound where no release is active."""
        ...

    async def discarded(self, before: datetime) -> Sequence[str]:
        """Collections to be dropped that no live release has had since then."""
        ...

    async def forget(self, collection: str) -> None:
        """That collection was dropped."""
        ...

    async def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Whether `holder` has what only one may have, for so many seconds from now: it had it, or nobody does."""
        ...

    async def appear(self, presence: Presence) -> None:
        """An orchestrator says that it is alive, and what it serves."""
        ...

    async def present(self, seconds: float) -> Sequence[Presence]:
        """Those that have appeared within so many seconds, by name."""
        ...

    async def leave(self, name: str) -> None:
        """An orchestrator is gone; its leases are anybody's."""
        ...

    async def observe(self, release_id: str, observer: str, observations: Mapping[str, Any]) -> None:
        """Stores what an orchestrator has observed of a canary or shadow so far, in place of what it stored before."""
        ...

    async def observations(self, release_id: str) -> Sequence[Mapping[str, Any]]:
        """Of each observer."""
        ...

    async def record_evaluation(self, release_id: str, evaluation: Evaluation) -> None:
        """In place of the one before. Raises NotFound where there is no such release, or none that it is against."""
        ...

    async def evaluation(self, release_id: str) -> Evaluation | None:
        """The one that was recorded last."""
        ...


class FeedbackStore(Protocol):
    """The truth about feedback, in the same database as the items."""

    async def add(self, feedback: Feedback) -> bool:
        """False, and nothing changes, where it is there already. Raises Conflict where its id is another one's."""
        ...

    async def get(self, feedback_id: str) -> Feedback:
        """Raises NotFound where there is none."""
        ...

    async def list(self, choice: Choice, page_size: int, page_token: str) -> FeedbackPage:
        """The newest first. Raises InvalidArgument where the token is not one of ours."""
        ...

    async def by_image(self, choice: Choice, after: tuple[str, str], limit: int) -> Sequence[Feedback]:
        """In the order of (image id, feedback id), from beyond such a pair; ("", "") is the first."""
        ...

    async def tallies(self, choice: Choice) -> Sequence[Tally]:
        """How much there is of each that differs in anything that a report tells apart."""
        ...

    async def delete(self, choice: Choice, limit: int, before: datetime | None = None) -> int:
        """Deletes up to `limit`, those given before a moment where there is one, and returns how many. Their photos are
        discarded with them."""
        ...

    async def set_reference(self, feedback_id: str, reference_id: str) -> None:
        """Says which reference image was made of it; nothing where it was deleted."""
        ...

    async def discarded_images(self, before: datetime, limit: int) -> Sequence[str]:
        """Up to `limit` photos that were discarded before that moment, and that nothing refers to."""
        ...

    async def discard_image(self, image_id: str) -> None:
        """Of an image that is about to be written: where nothing ends up referring to it, it is discarded."""
        ...

    async def forget_images(self, image_ids: Collection[str], before: datetime) -> None:
        """Those were removed. What was discarded again since that moment stays so."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """All of them. `models` serve the same ones, by the names that an operator knows them by."""

    models: Mapping[str, ModelServer]
    repository: ModelRepository
    index: VectorIndex
    metadata: MetadataStore
    registry: Registry
    images: ImageStore
    feedback: FeedbackStore
