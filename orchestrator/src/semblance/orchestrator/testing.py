"""The ports in memory, for tests of the service without Triton, Milvus or a database.

They keep the same contract tests as the real ones. Each can be told to fail: `index.fail(error)` makes its next call
raise `error`, a probe's too.
"""

import math
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import cv2
import numpy as np
from numpy.typing import NDArray

from semblance.orchestrator.errors import Conflict, ContractMismatch, InvalidArgument, NotFound
from semblance.orchestrator.filter import ITEM_ID, All, Any, Comparison, Filter, Not, Operator
from semblance.orchestrator.item import Attributes, AttributeType, CatalogSize, Item, ItemImage, Page, Value
from semblance.orchestrator.ports import IndexEntry, IndexRow, Neighbour, Neighbours, StoredImage, Written
from semblance.orchestrator.release import IndexParameters, ModelVersion, Release, Tensor

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
        self.models = set(models)
        # (model name, batch size) of each request.
        self.requests: list[tuple[str, int]] = []
        # What every image shows, float32 [N, 6] as the detector puts it; None where the image itself decides.
        self.detections: NDArray[np.float32] | None = None

    @contextmanager
    def batch(self, model: ModelVersion, rows: int) -> Iterator["FakeBatch"]:
        yield FakeBatch(self, model, np.empty((rows, *model.input.dims), np.uint8))

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
    ) -> list[Neighbours]:
        self._call()
        stored = self._collection(release).rows.values()
        rows = [row for row in stored if meets(where, row.item_id, row.attributes)]
        if not rows:
            return [Neighbours.of([]) for _ in vectors]
        matrix = np.stack([row.vector / np.linalg.norm(row.vector) for row in rows])
        answers = []
        for vector in vectors:
            similarities = matrix @ (vector / np.linalg.norm(vector))
            nearest = np.argsort(-similarities, kind="stable")[:limit]
            neighbours = [
                Neighbour(
                    item_id=rows[row].item_id,
                    image_id=rows[row].image_id,
                    box=rows[row].box,
                    similarity=float(similarities[row]),
                    attributes=rows[row].attributes if include_attributes else {},
                )
                for row in nearest
            ]
            answers.append(Neighbours.of(neighbours))
        return answers

    async def entries(
        self, release: Release, after: str, until: str | None, limit: int, timeout: float
    ) -> Sequence[IndexEntry]:
        self._call()
        rows = self._collection(release).rows.values()
        chosen = [row for row in rows if after < row.item_id and (until is None or row.item_id <= until)]
        return [IndexEntry(row.key, row.item_id, row.image_id, row.box, row.attributes) for row in chosen[:limit]]

    async def drop(self, release: Release, timeout: float) -> None:
        self._call()
        self.collections.pop(release.collection, None)

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
        # Item ids and when they changed, oldest change first.
        self.changed: dict[str, datetime] = {}
        self.release: Release | None = None

    async def get(self, item_id: str) -> tuple[Item, bool] | None:
        self._call()
        item = self.items.get(item_id)
        return None if item is None else (item, item_id not in self.changed)

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

    async def settle(self, item_id: str, revision: int, release: Release, images: Sequence[ItemImage] = ()) -> bool:
        self._call()
        if self.release is None or self.release.collection != release.collection:
            return False
        if self.newest.get(item_id) == revision:
            self.changed.pop(item_id, None)
            if item_id in self.items:
                changed = {image.image_id: image for image in images}
                item = self.items[item_id]
                now = tuple(changed.get(image.image_id, image) for image in item.images)
                self.items[item_id] = replace(item, images=now)
            return True
        if item_id in self.newest:
            self._changed(item_id)
        return False

    async def unsettled(self, limit: int, before: datetime | None = None) -> Sequence[tuple[str, int]]:
        self._call()
        due = [item_id for item_id, changed_at in self.changed.items() if before is None or changed_at < before]
        return [(item_id, self.newest[item_id]) for item_id in due[:limit]]

    async def count_unsettled(self, before: datetime) -> int:
        self._call()
        return sum(changed_at < before for changed_at in self.changed.values())

    async def unsettle(self, item_ids: Collection[str]) -> None:
        self._call()
        for item_id in item_ids:
            self.newest.setdefault(item_id, 1)
            self.changed.setdefault(item_id, datetime.now(UTC))

    async def revisions(self, item_ids: Collection[str]) -> Mapping[str, tuple[int, bool]]:
        self._call()
        known = [item_id for item_id in item_ids if item_id in self.newest]
        return {item_id: (self.newest[item_id], item_id not in self.changed) for item_id in known}

    async def postpone(self, item_id: str, revision: int) -> None:
        self._call()
        if item_id in self.changed and self.newest[item_id] == revision:
            del self.changed[item_id]
            self.changed[item_id] = datetime.now(UTC)

    async def count(self) -> CatalogSize:
        self._call()
        images = [image for item in self.items.values() for image in item.images]
        return CatalogSize(len(self.items), len(images), sum(image.vectors for image in images))

    async def list(self, page_size: int, page_token: str) -> Page:
        self._call()
        if page_token and not page_token.startswith("after:"):
            raise InvalidArgument("the page token is not one of this service")
        found = await self.items_after(page_token.removeprefix("after:"), page_size + 1)
        page = tuple(found[:page_size])
        return Page(page, f"after:{page[-1].item_id}" if len(found) > page_size else "")

    async def items_after(self, item_id: str, limit: int) -> Sequence[Item]:
        self._call()
        following = sorted(each for each in self.items if each > item_id)
        return [self.items[each] for each in following[:limit]]

    async def image_ids(self, shard: str) -> frozenset[str]:
        self._call()
        images = {image.image_id for item in self.items.values() for image in item.images}
        return frozenset(image_id for image_id in images if image_id.startswith(shard))

    async def attribute_types(self) -> Mapping[str, AttributeType]:
        self._call()
        return dict(self.types)

    async def indexed(self) -> bool:
        self._call()
        return bool(self.items.keys() - self.changed.keys())

    async def active_release(self) -> Release | None:
        self._call()
        return self.release

    async def add_first_release(self, release: Release) -> Release:
        self._call()
        if self.release is None:
            self.release = release
        return self.release

    async def replace_collection(self, collection: str) -> Release:
        self._call()
        if self.release is None:
            raise NotFound("no release is active")
        self.release = replace(self.release, collection=collection)
        for item_id in self.items:
            self.changed.setdefault(item_id, datetime.now(UTC))
        return self.release

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
        self.changed.pop(item_id, None)
        self.changed[item_id] = datetime.now(UTC)
        return self.newest[item_id]
