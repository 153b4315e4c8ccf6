"""The ports in memory, for tests of the service without Triton, Milvus or a database.

They keep the same contract tests as the real ones. Each can be told to fail: `index.fail(error)` makes its next call
raise `error`, a probe's too.
"""

import math
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import cv2
import numpy as np
from numpy.typing import NDArray

from semblance.orchestrator.condition import BLURRED, DARK, SMALL
from semblance.orchestrator.errors import Conflict, ContractMismatch, InvalidArgument, NotFound, WrongState
from semblance.orchestrator.evaluation import Evaluation
from semblance.orchestrator.feedback import Choice, Feedback, FeedbackPage, Tally
from semblance.orchestrator.filter import ITEM_ID, All, Any, Comparison, Filter, Not, Operator
from semblance.orchestrator.item import Attributes, AttributeType, CatalogSize, IdPage, Item, ItemImage, Page, Value
from semblance.orchestrator.measure import similarities
from semblance.orchestrator.ports import IndexEntry, IndexRow, Neighbour, Neighbours, StoredImage, TransportUse, Written
from semblance.orchestrator.release import (
    LIVE,
    Canary,
    IndexParameters,
    ModelVersion,
    Presence,
    Registered,
    Release,
    ReleaseState,
    Tensor,
)

DETECTIONS = 100
# A pixel belongs to an object where its channels differ by more than this: colour on a grey ground.
SATURATION = 64
# The least area of an object, in pixels of the letterbox.
MIN_AREA = 64


def example_release(dimension: int = 48, collection: str = "test") -> Release:
    """A release that `FakeInferenceServer` serves."""
    detector = ModelVersion(
        name="detector",
        version=1,
        sha256="d" * 64,
        input=Tensor("image", "UINT8", (640, 640, 3)),
        output=Tensor("detections", "FP32", (DETECTIONS, 6)),
        max_batch_size=8,
        pad_value=114,
        class_names=("object",),
    )
    embedder = ModelVersion(
        name="embedder",
        version=1,
        sha256="e" * 64,
        input=Tensor("crop", "UINT8", (224, 224, 3)),
        output=Tensor("embedding", "FP32", (dimension,)),
        max_batch_size=32,
        pad_value=114,
    )
    return Release("r1", detector, embedder, IndexParameters(), collection)


class Faulty:
    """Something whose next calls can be made to fail."""

    def __init__(self) -> None:
        self._failures: deque[Exception] = deque()

    def fail(self, *errors: Exception) -> None:
        """The next calls raise these, one each."""
        self._failures.extend(errors)

    def mend(self) -> None:
        """No call fails any more."""
        self._failures.clear()

    def _call(self) -> None:
        if self._failures:
            raise self._failures.popleft()


class FakeInferenceServer(Faulty):
    """A detector of coloured things on grey, and an embedder by the colours of a crop's blocks."""

    def __init__(self, *models: ModelVersion) -> None:
        super().__init__()
        # What is ready, and what `load` finds.
        self.models = set(models)
        self.published = set(models)
        # (model name, batch size) of each request.
        self.requests: list[tuple[str, int]] = []
        # What every image shows, float32 [N, 6] as the detector puts it; None where the image itself decides.
        self.detections: NDArray[np.float32] | None = None

    @contextmanager
    def batch(self, model: ModelVersion, rows: int) -> Iterator["FakeBatch"]:
        yield FakeBatch(self, model, np.empty((rows, *model.input.dims), np.uint8))

    def transport_use(self) -> TransportUse:
        return TransportUse({"bytes": len(self.requests)})

    async def infer(self, model: ModelVersion, batch: NDArray[np.uint8], timeout: float) -> NDArray[np.float32]:
        await self.check(model, timeout)
        if batch.shape[1:] != model.input.dims or len(batch) > model.max_batch_size:
            raise ContractMismatch(
                f"{model.name} takes up to {model.max_batch_size} × {model.input.dims}, and got {batch.shape}"
            )
        self.requests.append((model.name, len(batch)))
        if model.name == "detector":
            return np.stack([_padded(self._detect(image)) for image in batch])
        return np.stack([block_means(crop, model.output.dims[0]) for crop in batch])

    async def check(self, model: ModelVersion, timeout: float) -> None:
        self._call()
        if model not in self.models:
            raise ContractMismatch(f"there is no {model.name} version {model.version} like that")

    async def ready_versions(self, name: str, timeout: float) -> tuple[int, ...]:
        self._call()
        return tuple(sorted(model.version for model in self.models if model.name == name))

    async def load(self, name: str, versions: Collection[int], config: str, timeout: float) -> None:
        self._call()
        known = {model for model in self.published if model.name == name and model.version in versions}
        if missing := {*versions} - {model.version for model in known}:
            raise ContractMismatch(f"there is no {name} version {', '.join(map(str, sorted(missing)))} to load")
        self.models = {model for model in self.models if model.name != name} | known

    def _detect(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        return coloured_regions(image) if self.detections is None else self.detections


@dataclass(frozen=True, slots=True, eq=False)
class FakeBatch:
    server: FakeInferenceServer
    model: ModelVersion
    pixels: NDArray[np.uint8]

    async def infer(self, timeout: float) -> NDArray[np.float32]:
        return await self.server.infer(self.model, self.pixels, timeout)


def coloured_regions(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """float32 [N, 6]: x1 y1 x2 y2 score class of the connected regions of colour, the largest first."""
    coloured = (np.ptp(image.astype(np.int16), axis=2) > SATURATION).astype(np.uint8)
    count, _, statistics, _ = cv2.connectedComponentsWithStats(coloured)
    regions = sorted((tuple(map(int, row)) for row in statistics[1:count]), key=lambda row: (-row[4], row))
    boxes = [(x, y, x + width, y + height) for x, y, width, height, area in regions if area >= MIN_AREA][:DETECTIONS]
    rows = [(*box, 0.9 - 0.005 * rank, 0) for rank, box in enumerate(boxes)]
    return np.array(rows, np.float32).reshape(-1, 6)


def block_means(crop: NDArray[np.uint8], dimension: int) -> NDArray[np.float32]:
    """float32 [dimension], L2-normalised: the mean colours of the blocks of a grid, as many as fill the vector."""
    side = math.ceil(math.sqrt(dimension / 3))
    blocks = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
    # An offset, so that black and grey have a direction too.
    vector = blocks.reshape(-1)[:dimension] - 96.5
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def _padded(detections: NDArray[np.float32]) -> NDArray[np.float32]:
    output = np.zeros((DETECTIONS, 6), np.float32)
    output[: len(detections)] = detections[:DETECTIONS]
    return output


def meets(where: Filter | None, item_id: str, attributes: Attributes) -> bool:
    """What a filter means: the reference that every index is tested against."""
    match where:
        case None:
            return True
        case All(filters):
            return all(meets(each, item_id, attributes) for each in filters)
        case Any(filters):
            return any(meets(each, item_id, attributes) for each in filters)
        case Not(child):
            return not meets(child, item_id, attributes)
        case Comparison(name, operator, values):
            value = item_id if name == ITEM_ID else attributes.get(name)
            return value is not None and _compares(value, operator, values)


def _compares(value: Value, operator: Operator, values: Sequence[Value]) -> bool:
    if operator is Operator.IN:
        return any(_compares(value, Operator.EQUAL, (other,)) for other in values)
    other = values[0]
    if operator is Operator.EQUAL:
        return value == other
    if operator is Operator.NOT_EQUAL:
        return value != other
    # `check_filter` lets strings meet strings only; they compare by code point, as UTF-8's bytes do.
    less = value < other  # type: ignore[operator]
    return {
        Operator.LESS: less,
        Operator.LESS_OR_EQUAL: less or value == other,
        Operator.GREATER: not less and value != other,
        Operator.GREATER_OR_EQUAL: not less,
    }[operator]


@dataclass(slots=True)
class MemoryCollection:
    dimension: int
    embedder: str
    rows: dict[str, IndexRow] = field(default_factory=dict)


class MemoryVectorIndex(Faulty):
    """Exact search."""

    def __init__(self) -> None:
        super().__init__()
        self.collections: dict[str, MemoryCollection] = {}

    async def create(self, release: Release, timeout: float) -> None:
        self._call()
        self.collections.setdefault(release.collection, MemoryCollection(release.dimension, release.embedder.sha256))

    async def check(self, release: Release, timeout: float) -> None:
        self._call()
        if (made_for := self._collection(release).embedder) != release.embedder.sha256:
            raise ContractMismatch(f"collection {release.collection} was made for the embedder {made_for}")

    async def upsert(self, release: Release, rows: Sequence[IndexRow], timeout: float) -> None:
        self._call()
        self._collection(release).rows.update((row.key, row) for row in rows)

    async def delete(self, release: Release, item_id: str, keep: Collection[str], timeout: float) -> None:
        self._call()
        collection = self._collection(release)
        collection.rows = {
            key: row for key, row in collection.rows.items() if row.item_id != item_id or row.key in keep
        }

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
        self._call()
        stored = self._collection(release).rows.values()
        rows = [row for row in stored if meets(where, row.item_id, row.attributes)]
        if not rows:
            return [replace(Neighbours.of([]), vectors=vectors[:0] if include_vectors else None) for _ in vectors]
        matrix = np.stack([row.vector for row in rows])
        answers = []
        for vector in vectors:
            similar = similarities(release.index.metric, vector, matrix)
            nearest = np.argsort(-similar, kind="stable")[:limit]
            neighbours = [
                Neighbour(
                    item_id=rows[row].item_id,
                    image_id=rows[row].image_id,
                    box=rows[row].box,
                    similarity=float(similar[row]),
                    attributes=rows[row].attributes if include_attributes else {},
                )
                for row in nearest
            ]
            answers.append(replace(Neighbours.of(neighbours), vectors=matrix[nearest] if include_vectors else None))
        return answers

    async def entries(
        self, release: Release, after: str, until: str | None, limit: int, timeout: float
    ) -> Sequence[IndexEntry]:
        self._call()
        rows = self._collection(release).rows.values()
        chosen = [row for row in rows if after < row.item_id and (until is None or row.item_id <= until)]
        return [IndexEntry(row.key, row.item_id, row.image_id, row.box, row.attributes) for row in chosen[:limit]]

    async def count(self, release: Release, timeout: float) -> int:
        self._call()
        return len(self._collection(release).rows)

    async def drop(self, collection: str, timeout: float) -> None:
        self._call()
        self.collections.pop(collection, None)

    def _collection(self, release: Release) -> MemoryCollection:
        collection = self.collections.get(release.collection)
        if collection is None or collection.dimension != release.dimension:
            raise ContractMismatch(
                f"there is no collection {release.collection} of {release.dimension} numbers a vector"
            )
        return collection


class MemoryImageStore(Faulty):
    def __init__(self) -> None:
        super().__init__()
        self.images: dict[str, bytes] = {}
        self.written_at: dict[str, datetime] = {}
        self.removes_exactly = True

    async def write(self, image_id: str, data: bytes) -> None:
        self._call()
        self.images[image_id] = data
        self.written_at[image_id] = datetime.now(UTC)

    async def read(self, image_id: str) -> bytes:
        self._call()
        if image_id not in self.images:
            raise NotFound(f"there is no image {image_id}")
        return self.images[image_id]

    async def list(self, shard: str) -> Sequence[StoredImage]:
        self._call()
        return [
            StoredImage(image_id, len(data), self.written_at[image_id])
            for image_id, data in self.images.items()
            if image_id.startswith(shard)
        ]

    async def remove(self, image_id: str, before: datetime) -> bool:
        self._call()
        if image_id not in self.images or self.written_at[image_id] >= before:
            return False
        del self.images[image_id]
        return True


class MemoryMetadataStore(Faulty):
    def __init__(self) -> None:
        super().__init__()
        self.items: dict[str, Item] = {}
        self.types: dict[str, AttributeType] = {}
        self.newest: dict[str, int] = {}
        # By collection: item ids and when they changed, oldest change first.
        self.changed: defaultdict[str, dict[str, datetime]] = defaultdict(dict)
        # The same of those that were tried in vain.
        self.postponed: defaultdict[str, dict[str, datetime]] = defaultdict(dict)
        # By collection and item id: the images as its models found them.
        self.found: dict[tuple[str, str], tuple[ItemImage, ...]] = {}
        # Collections that do not have the whole catalogue as unsettled yet.
        self.filling: set[str] = set()
        self.registered: dict[str, Registered] = {}
        self.feedback: dict[str, Feedback] = {}

    async def get(self, collection: str, item_id: str) -> tuple[Item, bool] | None:
        self._call()
        if item_id not in self.items:
            return None
        return self._seen(collection, item_id), self._settled(collection, item_id)

    async def write(self, item: Item, after: int | None = None) -> Written:
        self._call()
        self._check_newest(item.item_id, after)
        attributes = {name: self._typed(name, value) for name, value in item.attributes.items()}
        for name, value in attributes.items():
            self.types.setdefault(name, AttributeType.of(value))
        known = self.items.get(item.item_id)
        created_at = known.created_at if known else item.created_at
        self.items[item.item_id] = replace(item, attributes=attributes, created_at=created_at)
        return Written(self._changed(item.item_id), attributes)

    async def remove(self, item_id: str, after: int | None = None) -> int:
        self._call()
        self._check_newest(item_id, after)
        if item_id not in self.items:
            raise NotFound(f"there is no item {item_id!r}")
        del self.items[item_id]
        return self._changed(item_id)

    async def settle(self, collection: str, item_id: str, revision: int, images: Sequence[ItemImage] = ()) -> bool:
        self._call()
        states = {each.state for each in self._live() if each.release.collection == collection}
        if not states:
            return True
        if self.newest.get(item_id) == revision:
            self.changed[collection].pop(item_id, None)
            self.postponed[collection].pop(item_id, None)
            self.found[collection, item_id] = tuple(images)
            return True
        if item_id in self.newest and ReleaseState.ACTIVE in states:
            self._changed(item_id)
        elif item_id in self.newest:
            self.changed[collection].setdefault(item_id, datetime.now(UTC))
        return False

    async def unsettled(self, collection: str, limit: int, before: datetime | None = None) -> Sequence[tuple[str, int]]:
        self._call()
        turns = self.changed[collection] | self.postponed[collection]
        due = [item_id for item_id in sorted(turns, key=turns.__getitem__) if before is None or turns[item_id] < before]
        return [(item_id, self.newest[item_id]) for item_id in due[:limit]]

    async def count_unsettled(self, collection: str, before: datetime) -> int:
        self._call()
        return self._count(collection, self.changed[collection], before)

    async def count_due(self, collection: str, before: datetime) -> int:
        self._call()
        return self._count(collection, self.changed[collection] | self.postponed[collection], before)

    def _count(self, collection: str, moments: Mapping[str, datetime], before: datetime) -> int:
        listed = {item_id for item_id, moment in moments.items() if moment < before}
        return len(listed | (self.items.keys() if collection in self.filling else set()))

    async def enlist(self, collection: str) -> bool:
        self._call()
        if collection in self.filling:
            self.filling.remove(collection)
            for item_id in sorted(self.items):
                self.changed[collection].setdefault(item_id, datetime.now(UTC))
        return False

    async def unsettle(self, collection: str, item_ids: Collection[str]) -> None:
        self._call()
        for item_id in item_ids:
            self.newest.setdefault(item_id, 1)
            self.changed[collection].setdefault(item_id, datetime.now(UTC))

    async def revisions(self, collection: str, item_ids: Collection[str]) -> Mapping[str, tuple[int, bool]]:
        self._call()
        known = [item_id for item_id in item_ids if item_id in self.newest]
        return {item_id: (self.newest[item_id], self._settled(collection, item_id)) for item_id in known}

    async def postpone(self, collection: str, item_id: str, revision: int) -> None:
        self._call()
        if item_id in self.changed[collection] and self.newest[item_id] == revision:
            self.postponed[collection][item_id] = datetime.now(UTC)

    async def count_items(self) -> int:
        self._call()
        return len(self.items)

    async def count(self, collection: str) -> CatalogSize:
        self._call()
        images = [image for item_id in self.items for image in self._seen(collection, item_id).images]
        return CatalogSize(len(self.items), len(images), sum(image.vectors for image in images))

    async def list(self, collection: str, page_size: int, page_token: str) -> Page:
        self._call()
        if page_token and not page_token.startswith("after:"):
            raise InvalidArgument("the page token is not one of this service")
        found = await self.items_after(collection, page_token.removeprefix("after:"), page_size + 1)
        page = tuple(found[:page_size])
        return Page(page, f"after:{page[-1].item_id}" if len(found) > page_size else "")

    async def pending(self, collection: str, page_size: int, page_token: str) -> IdPage:
        self._call()
        if page_token and not page_token.startswith("after:"):
            raise InvalidArgument("the page token is not one of this service")
        listed = self.changed[collection].keys() | (self.items.keys() if collection in self.filling else set())
        found = sorted(each for each in listed if each > page_token.removeprefix("after:"))
        more = len(found) > page_size
        return IdPage(tuple(found[:page_size]), f"after:{found[page_size - 1]}" if more else "")

    async def items_after(self, collection: str, item_id: str, limit: int) -> Sequence[Item]:
        self._call()
        following = sorted(each for each in self.items if each > item_id)
        return [self._seen(collection, each) for each in following[:limit]]

    async def image_ids(self, shard: str) -> frozenset[str]:
        self._call()
        return frozenset(image_id for image_id in self.referenced() if image_id.startswith(shard))

    async def attribute_types(self) -> Mapping[str, AttributeType]:
        self._call()
        return dict(self.types)

    async def indexed(self, collection: str) -> bool:
        self._call()
        return any(self._settled(collection, item_id) for item_id in self.items)

    def referenced(self) -> set[str]:
        """The images of items and feedback."""
        photos = {each.image_id for each in self.feedback.values()}
        return photos | {image.image_id for item in self.items.values() for image in item.images}

    def _live(self) -> Sequence[Registered]:
        return [each for each in self.registered.values() if each.state in LIVE]

    def _settled(self, collection: str, item_id: str) -> bool:
        return item_id not in self.changed[collection] and collection not in self.filling

    def _seen(self, collection: str, item_id: str) -> Item:
        item = self.items[item_id]
        found = {image.image_id: image for image in self.found.get((collection, item_id), ())}
        return replace(item, images=tuple(found.get(image.image_id, image) for image in item.images))

    def _check_newest(self, item_id: str, revision: int | None) -> None:
        if revision is not None and revision != self.newest.get(item_id, 0):
            raise Conflict(f"item {item_id!r} was changed by somebody else at the same time; try again")

    def _typed(self, name: str, value: Value) -> Value:
        given = AttributeType.of(value)
        expected = self.types.get(name, given)
        if given is AttributeType.INTEGER and expected is AttributeType.DOUBLE:
            return float(value)
        if given is not expected:
            raise InvalidArgument(f"attribute {name} is a {expected}, and {value!r} is a {given}")
        return value

    def _changed(self, item_id: str) -> int:
        self.newest[item_id] = self.newest.get(item_id, 0) + 1
        for collection in {each.release.collection for each in self._live()}:
            self.changed[collection].pop(item_id, None)
            self.changed[collection][item_id] = datetime.now(UTC)
            self.postponed[collection].pop(item_id, None)
        return self.newest[item_id]


class MemoryFeedbackStore(Faulty):
    """In the same memory as the items."""

    def __init__(self, metadata: MemoryMetadataStore) -> None:
        super().__init__()
        self._metadata = metadata
        self._feedback = metadata.feedback
        self._discarded: dict[str, datetime] = {}

    async def add(self, feedback: Feedback) -> bool:
        self._call()
        known = self._feedback.get(feedback.feedback_id)
        if known is not None and known.content != feedback.content:
            raise Conflict(f"feedback {feedback.feedback_id!r} is there already and says something else")
        self._feedback.setdefault(feedback.feedback_id, feedback)
        return known is None

    async def get(self, feedback_id: str) -> Feedback:
        self._call()
        if feedback_id not in self._feedback:
            raise NotFound(f"there is no feedback {feedback_id!r}")
        return self._feedback[feedback_id]

    async def list(self, choice: Choice, page_size: int, page_token: str) -> FeedbackPage:
        self._call()
        if page_token and page_token.removeprefix("after:") not in self._feedback:
            raise InvalidArgument("the page token is not one of this service")
        found = sorted(self._chosen(choice), key=lambda each: each.feedback_id)
        found.sort(key=lambda each: each.given_at, reverse=True)
        ids = [each.feedback_id for each in found]
        start = ids.index(page_token.removeprefix("after:")) + 1 if page_token else 0
        page = tuple(found[start : start + page_size])
        return FeedbackPage(page, f"after:{page[-1].feedback_id}" if len(found) > start + page_size else "")

    async def by_image(self, choice: Choice, after: tuple[str, str], limit: int) -> Sequence[Feedback]:
        self._call()
        found = sorted(self._chosen(choice), key=_image_key)
        return [each for each in found if _image_key(each) > after][:limit]

    async def tallies(self, choice: Choice) -> Sequence[Tally]:
        self._call()
        alike = Counter(
            (
                each.release_id,
                each.class_name,
                each.verdict.kind,
                each.success,
                each.condition.light < DARK,
                each.condition.sharpness < BLURRED,
                each.condition.size < SMALL,
            )
            for each in self._chosen(choice)
        )
        return [Tally(*key, count) for key, count in alike.items()]

    async def delete(self, choice: Choice, limit: int, before: datetime | None = None) -> int:
        self._call()
        found = [each for each in self._chosen(choice) if before is None or each.given_at < before][:limit]
        for each in found:
            del self._feedback[each.feedback_id]
            self._discarded[each.image_id] = datetime.now(UTC)
        return len(found)

    async def set_reference(self, feedback_id: str, reference_id: str) -> None:
        self._call()
        if feedback_id in self._feedback:
            self._feedback[feedback_id] = replace(self._feedback[feedback_id], reference_id=reference_id)

    async def discarded_images(self, before: datetime, limit: int) -> Sequence[str]:
        self._call()
        due = [image_id for image_id, moment in self._discarded.items() if moment < before]
        for image_id in self._metadata.referenced().intersection(due):
            del self._discarded[image_id]
        return [image_id for image_id in due if image_id in self._discarded][:limit]

    async def discard_image(self, image_id: str) -> None:
        self._call()
        self._discarded[image_id] = datetime.now(UTC)

    async def forget_images(self, image_ids: Collection[str], before: datetime) -> None:
        self._call()
        for image_id in image_ids:
            if image_id in self._discarded and self._discarded[image_id] < before:
                del self._discarded[image_id]

    def _chosen(self, choice: Choice) -> Iterator[Feedback]:
        for each in self._feedback.values():
            if (
                (not choice.kinds or each.verdict.kind in choice.kinds)
                and choice.release_id in ("", each.release_id)
                and choice.caller in ("", each.caller)
                and choice.image_id in ("", each.image_id)
                and (choice.feedback_ids is None or each.feedback_id in choice.feedback_ids)
            ):
                yield each


def _image_key(feedback: Feedback) -> tuple[str, str]:
    return feedback.image_id, feedback.feedback_id


class MemoryRegistry(Faulty):
    """In the same memory as the items."""

    def __init__(self, metadata: MemoryMetadataStore) -> None:
        super().__init__()
        self._metadata = metadata
        self._registered = metadata.registered
        self._discarded: dict[str, datetime] = {}
        self._leases: dict[str, tuple[str, datetime]] = {}
        self._present: dict[str, tuple[Presence, datetime]] = {}
        self._observations: dict[str, dict[str, Mapping[str, object]]] = {}
        self._evaluations: dict[str, Evaluation] = {}

    async def releases(self) -> Sequence[Registered]:
        self._call()
        return list(self._registered.values())

    async def active_release(self) -> Release | None:
        self._call()
        active = self._active()
        return active.release if active else None

    async def add_first_release(self, release: Release) -> Release:
        self._call()
        if active := self._active():
            return active.release
        if release.release_id in self._registered:
            raise Conflict(f"release {release.release_id} exists and is not active")
        self._add(release, ReleaseState.ACTIVE)
        return release

    async def add_release(self, release: Release, outside: float = 0.0) -> Registered:
        self._call()
        if release.release_id in self._registered:
            raise Conflict(f"there is a release {release.release_id} already")
        registered = self._add(release, ReleaseState.BUILDING)
        return await self.leave_outside(release.release_id, outside) if outside else registered

    async def leave_outside(self, release_id: str, seconds: float) -> Registered:
        self._call()
        if self._known(release_id).state is ReleaseState.BUILDING:
            self._set(release_id, outside_until=datetime.now(UTC) + timedelta(seconds=seconds))
        return self._known(release_id)

    async def set_ready(self, release_id: str, before: datetime) -> None:
        self._call()
        registered = self._in_state(release_id, ReleaseState.BUILDING)
        if left := await self._metadata.count_unsettled(registered.release.collection, before):
            raise WrongState(f"release {release_id} is not ready: {left} items are not indexed yet")
        self._set(release_id, state=ReleaseState.READY, changed_at=datetime.now(UTC), problem="")

    async def activate(self, release_id: str) -> Registered:
        self._call()
        if self._known(release_id).state is ReleaseState.ACTIVE:
            return self._known(release_id)
        self._in_state(release_id, ReleaseState.READY)
        active = self._active()
        return self._switch(release_id, active.release_id if active else "")

    async def roll_back(self) -> Registered:
        self._call()
        active = self._active()
        if active is None or not active.replaced:
            raise WrongState("the active release replaced no other one; activate the one you want")
        before = self._in_state(active.replaced, ReleaseState.READY)
        return self._switch(before.release_id, before.replaced)

    async def retire(self, release_id: str) -> Registered:
        self._call()
        registered = self._in_state(release_id, ReleaseState.BUILDING, ReleaseState.READY)
        if registered.canary or registered.shadow:
            raise WrongState(f"release {release_id} is a canary or a shadow; end that first")
        retired = self._set(release_id, state=ReleaseState.RETIRED, changed_at=datetime.now(UTC), problem="")
        self._discard(registered.release.collection)
        return retired

    async def set_canary(self, release_id: str, canary: Canary | None) -> Registered:
        self._call()
        _check_percent(canary.percent if canary else 0.0)
        if canary is None:
            return self._set(self._known(release_id).release_id, canary=None)
        self._observe_from(release_id, [each for each in self._registered.values() if each.canary])
        return self._set(release_id, canary=canary)

    async def set_shadow(self, release_id: str, percent: float) -> Registered:
        self._call()
        _check_percent(percent)
        if not percent:
            return self._set(self._known(release_id).release_id, shadow=0.0)
        self._observe_from(release_id, [each for each in self._registered.values() if each.shadow])
        return self._set(release_id, shadow=percent)

    async def note(self, release_id: str, problem: str, rate: float) -> None:
        self._call()
        if self._registered[release_id].state is ReleaseState.BUILDING:
            self._set(release_id, problem=problem, rate=rate)

    async def replace_collection(self, collection: str) -> Release:
        self._call()
        active = self._active()
        if active is None:
            raise NotFound("no release is active")
        release = replace(active.release, collection=collection)
        self._fill(collection)
        self._set(active.release_id, release=release)
        self._discard(active.release.collection)
        return release

    async def discarded(self, before: datetime) -> Sequence[str]:
        self._call()
        return [collection for collection, at in self._discarded.items() if at < before]

    async def forget(self, collection: str) -> None:
        self._call()
        self._discarded.pop(collection, None)
        self._metadata.changed.pop(collection, None)

    async def lease(self, name: str, holder: str, seconds: float) -> bool:
        self._call()
        now = datetime.now(UTC)
        other, until = self._leases.get(name, (holder, now))
        if other != holder and until >= now:
            return False
        self._leases[name] = holder, now + timedelta(seconds=seconds)
        return True

    async def appear(self, presence: Presence) -> None:
        self._call()
        self._present[presence.name] = presence, datetime.now(UTC)

    async def present(self, seconds: float) -> Sequence[Presence]:
        self._call()
        since = datetime.now(UTC) - timedelta(seconds=seconds)
        return [presence for _, (presence, seen_at) in sorted(self._present.items()) if seen_at >= since]

    async def leave(self, name: str) -> None:
        self._call()
        self._present.pop(name, None)
        for lease in [lease for lease, (holder, _) in self._leases.items() if holder == name]:
            del self._leases[lease]

    async def observe(self, release_id: str, observer: str, observed: Mapping[str, object]) -> None:
        self._call()
        self._observations.setdefault(release_id, {})[observer] = observed

    async def observations(self, release_id: str) -> Sequence[Mapping[str, object]]:
        self._call()
        return list(self._observations.get(release_id, {}).values())

    async def record_evaluation(self, release_id: str, evaluation: Evaluation) -> None:
        self._call()
        for known in filter(None, (release_id, evaluation.against)):
            self._known(known)
        self._evaluations[release_id] = evaluation

    async def evaluation(self, release_id: str) -> Evaluation | None:
        self._call()
        return self._evaluations.get(release_id)

    def _active(self) -> Registered | None:
        return next((each for each in self._registered.values() if each.state is ReleaseState.ACTIVE), None)

    def _known(self, release_id: str) -> Registered:
        if release_id not in self._registered:
            raise NotFound(f"there is no release {release_id!r}")
        return self._registered[release_id]

    def _in_state(self, release_id: str, *states: ReleaseState) -> Registered:
        registered = self._known(release_id)
        if registered.state not in states:
            raise WrongState(f"release {release_id} is {registered.state}, not {' or '.join(states)}")
        return registered

    def _set(self, release_id: str, **values: object) -> Registered:
        self._registered[release_id] = replace(self._registered[release_id], **values)  # type: ignore[arg-type]
        return self._registered[release_id]

    def _switch(self, release_id: str, replaced: str) -> Registered:
        now = datetime.now(UTC)
        if active := self._active():
            self._set(active.release_id, state=ReleaseState.READY, changed_at=now)
        self._observations.clear()
        return self._set(
            release_id, state=ReleaseState.ACTIVE, changed_at=now, replaced=replaced, canary=None, shadow=0.0
        )

    def _observe_from(self, release_id: str, others: Sequence[Registered]) -> None:
        registered = self._in_state(release_id, ReleaseState.READY)
        if any(each.release_id != release_id for each in others):
            raise WrongState(f"release {others[0].release_id} is that already; end that first")
        if not registered.canary and not registered.shadow:
            self._observations.pop(release_id, None)

    def _add(self, release: Release, state: ReleaseState) -> Registered:
        now = datetime.now(UTC)
        if release.collection not in {each.release.collection for each in self._metadata._live()}:
            self._fill(release.collection)
        self._registered[release.release_id] = Registered(release, state, now, now)
        return self._registered[release.release_id]

    def _fill(self, collection: str) -> None:
        self._discarded.pop(collection, None)
        if self._metadata.items:
            self._metadata.filling.add(collection)

    def _discard(self, collection: str) -> None:
        if collection not in {each.release.collection for each in self._metadata._live()}:
            self._discarded[collection] = datetime.now(UTC)


def _check_percent(percent: float) -> None:
    if not 0 <= percent <= 100:
        raise InvalidArgument(f"{percent:g} percent is not between 0 and 100")
