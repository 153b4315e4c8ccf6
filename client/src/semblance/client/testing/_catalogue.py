"""What the fake holds, and how it judges likeness, filters and requests."""

from __future__ import annotations

import hashlib
import operator
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from math import sqrt
from threading import Lock
from typing import Any

from PIL import Image as PillowImage
from PIL import ImageOps

from semblance.client import _translate as translate
from semblance.client._errors import InvalidArgumentError, InvalidFilterError, InvalidImageError, NotFoundError
from semblance.client._types import Box
from semblance.v1 import catalog_pb2, item_pb2, measure_pb2, search_pb2

DIMENSION = 8
"""Numbers in an embedding of the fake."""

UNRELATED = 0.5
"""The similarity of pictures that have nothing to do with each other stays below it."""

DEFAULT_MIN_DETECTION_SCORE = 0.25
# The one that it serves with.
RELEASE = "r1"

_COMPARE: Mapping[int, Callable[[Any, Any], bool]] = {
    item_pb2.Comparison.EQUAL: operator.eq,
    item_pb2.Comparison.NOT_EQUAL: operator.ne,
    item_pb2.Comparison.LESS: operator.lt,
    item_pb2.Comparison.LESS_OR_EQUAL: operator.le,
    item_pb2.Comparison.GREATER: operator.gt,
    item_pb2.Comparison.GREATER_OR_EQUAL: operator.ge,
    item_pb2.Comparison.IN: operator.eq,
}


@dataclass(frozen=True, slots=True)
class SeenObject:
    """An object that the fake detects in a photo.

    Attributes:
        box: in pixels of the upright photo.
        class_name: the class.
        score: the detector's, 0 to 1.
        similar: cosine similarity by item id; other items are unrelated.
    """

    box: Box
    class_name: str
    score: float = 0.9
    similar: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Catalogue:
    """Items by id and what photos show. Methods raise `SemblanceError`s; threads may call them."""

    _items: dict[str, item_pb2.Item] = field(default_factory=dict)
    _kinds: dict[str, str] = field(default_factory=lambda: {"item_id": "string_value"})
    _seen: dict[str, tuple[SeenObject, ...]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def shows(self, photo: bytes, objects: tuple[SeenObject, ...]) -> None:
        self._seen[digest(photo)] = objects

    def put(self, new: item_pb2.Item) -> catalog_pb2.PutResponse.Outcome.ValueType:
        if not 1 <= len(new.item_id) <= 256 or not new.item_id.isprintable():
            raise InvalidArgumentError("item_id needs 1 to 256 characters, and no control characters")
        if not new.images:
            raise InvalidArgumentError(f"item {new.item_id!r} has no images; send at least one")
        images = {digest(image.data): image for image in new.images}
        now = datetime.now(UTC)
        stored = item_pb2.Item(item_id=new.item_id, attributes=new.attributes)
        for image_id, image in images.items():
            width, height = size(image.data)
            vectors = len(self._seen.get(image_id, ())) or 1
            stored.images.add(image_id=image_id, width=width, height=height, vectors=vectors, data=image.data)
        with self._lock:
            for name, value in new.attributes.items():
                stored.attributes[name].CopyFrom(self._typed(name, value))
            self._kinds |= {name: _kind(value) for name, value in new.attributes.items() if name not in self._kinds}
            known = self._items.get(new.item_id)
            if known and known.images == stored.images and known.attributes == stored.attributes:
                return catalog_pb2.PutResponse.UNCHANGED
            stored.created_at.CopyFrom(known.created_at) if known else stored.created_at.FromDatetime(now)
            stored.updated_at.FromDatetime(now)
            self._items[new.item_id] = stored
        return catalog_pb2.PutResponse.REPLACED if known else catalog_pb2.PutResponse.CREATED

    def get(self, item_id: str, with_data: bool) -> item_pb2.Item:
        if item_id not in self._items:
            raise NotFoundError(f"there is no item {item_id!r}")
        item = item_pb2.Item()
        item.CopyFrom(self._items[item_id])
        if not with_data:
            for image in item.images:
                image.ClearField("data")
        return item

    def delete(self, item_id: str) -> None:
        with self._lock:
            if self._items.pop(item_id, None) is None:
                raise NotFoundError(f"there is no item {item_id!r}")

    def count(self) -> catalog_pb2.CountResponse:
        images = [image for item in self._items.values() for image in item.images]
        return catalog_pb2.CountResponse(
            items=len(self._items), images=len(images), vectors=sum(image.vectors for image in images)
        )

    def page(self, request: catalog_pb2.ListRequest) -> catalog_pb2.ListResponse:
        length = request.page_size if request.HasField("page_size") else 100
        if not 1 <= length <= 1000:
            raise InvalidArgumentError(f"page_size is {length}, expected 1 to 1000")
        ids = sorted(item_id for item_id in self._items if item_id > request.page_token)
        response = catalog_pb2.ListResponse(items=[self.get(item_id, False) for item_id in ids[:length]])
        if len(ids) > length:
            response.next_page_token = ids[length - 1]
        return response

    def search(self, request: search_pb2.SearchRequest) -> search_pb2.SearchResponse:
        width, height = size(request.image)
        options = request.options
        self._check(options, width, height)
        items = [item for item in self._items.values() if self._meets(item, options.filter)]
        response = search_pb2.SearchResponse(
            request_id=request.request_id,
            release=RELEASE,
            measure=options.measure or measure_pb2.COSINE,
            image_width=width,
            image_height=height,
        )
        for objects, similar in self._regions(request, width, height, response):
            key = f"{digest(request.image)} {objects.box}"
            hits = [_hit(item, digest(request.image), similar, options.include_attributes) for item in items]
            if options.HasField("min_similarity"):
                hits = [hit for hit in hits if hit.similarity >= options.min_similarity]
            hits.sort(key=lambda hit: (-hit.similarity, hit.item_id))
            objects.hits.extend(hits[: options.top_k if options.HasField("top_k") else 10])
            if options.include_embeddings:
                objects.embedding.extend(_embedding(key))
        if options.include_timings:
            response.timings.total.FromMilliseconds(1)
        return response

    def _regions(
        self, request: search_pb2.SearchRequest, width: int, height: int, response: search_pb2.SearchResponse
    ) -> Iterator[tuple[search_pb2.ObjectHits, Mapping[str, float]]]:
        """Adds to the response, and yields, each object with its similarities by item id."""
        options = request.options
        for box in options.boxes:
            yield response.objects.add(source=search_pb2.ObjectHits.GIVEN, box=box), {}
        if options.boxes:
            return
        least = options.min_detection_score if options.HasField("min_detection_score") else DEFAULT_MIN_DETECTION_SCORE
        seen = [one for one in self._seen.get(digest(request.image), ()) if one.score >= least]
        if options.objects == search_pb2.SearchOptions.LARGEST:
            seen = sorted(seen, key=lambda one: -(one.box.x2 - one.box.x1) * (one.box.y2 - one.box.y1))[:1]
        if options.objects == search_pb2.SearchOptions.WHOLE_IMAGE:
            seen = []
        else:
            response.nothing_detected = not seen
        for one in sorted(seen, key=lambda one: -one.score):
            box = item_pb2.Box(x1=one.box.x1, y1=one.box.y1, x2=one.box.x2, y2=one.box.y2)
            detected = search_pb2.ObjectHits.DETECTED
            yield (
                response.objects.add(source=detected, box=box, score=one.score, class_name=one.class_name),
                one.similar,
            )
        if not seen:
            whole = item_pb2.Box(x2=width, y2=height)
            yield response.objects.add(source=search_pb2.ObjectHits.WHOLE_IMAGE, box=whole), {}

    def _check(self, options: search_pb2.SearchOptions, width: int, height: int) -> None:
        if options.release not in ("", RELEASE):
            raise NotFoundError(f"there is no release {options.release!r}; {RELEASE} can be searched")
        if options.HasField("top_k") and not 1 <= options.top_k <= 1000:
            raise InvalidArgumentError(f"top_k is {options.top_k}, expected 1 to 1000")
        if options.HasField("min_detection_score") and not 0 <= options.min_detection_score <= 1:
            raise InvalidArgumentError(f"min_detection_score is {options.min_detection_score:g}, expected 0 to 1")
        if options.HasField("min_similarity") and not -1 <= options.min_similarity <= 1:
            raise InvalidArgumentError(f"min_similarity is {options.min_similarity:g}, expected -1 to 1")
        if len(options.boxes) > 100 or (options.boxes and options.objects):
            raise InvalidArgumentError("give at most 100 boxes, and not together with `objects`")
        for box in options.boxes:
            if not (0 <= box.x1 < box.x2 <= width and 0 <= box.y1 < box.y2 <= height):
                raise InvalidArgumentError(
                    f"box ({box.x1:g}, {box.y1:g}, {box.x2:g}, {box.y2:g}) is not inside the image: "
                    f"expected 0 ≤ x1 < x2 ≤ {width} and 0 ≤ y1 < y2 ≤ {height}"
                )
        self._check_filter(options.filter)

    def _check_filter(self, node: item_pb2.Filter) -> None:
        for child in _children(node):
            self._check_filter(child)
        if node.WhichOneof("node") != "comparison":
            return
        comparison, kind = node.comparison, self._kinds.get(node.comparison.field)
        if kind is None:
            known = ", ".join(sorted(self._kinds))
            raise InvalidFilterError(f"unknown filter field {comparison.field!r}; the catalogue has {known}")
        if not comparison.values or (comparison.operator != item_pb2.Comparison.IN and len(comparison.values) != 1):
            raise InvalidFilterError(f"{comparison.field} has {len(comparison.values)} values: one, or more for IN")
        for value in comparison.values:
            if _kind(value) != kind and {_kind(value), kind} != {"int_value", "double_value"}:
                raise InvalidFilterError(f"{comparison.field} is a {kind}, and is compared with a {_kind(value)}")

    def _meets(self, item: item_pb2.Item, node: item_pb2.Filter) -> bool:
        match node.WhichOneof("node"):
            case "comparison":
                actual = item.item_id if node.comparison.field == "item_id" else self._attribute(item, node)
                compare = _COMPARE[node.comparison.operator]
                values = [getattr(value, _kind(value)) for value in node.comparison.values]
                return actual is not None and any(compare(actual, value) for value in values)
            case "all":
                return all(self._meets(item, child) for child in _children(node))
            case "any":
                return any(self._meets(item, child) for child in _children(node))
            case "not":
                return not any(self._meets(item, child) for child in _children(node))
        return True

    def _attribute(self, item: item_pb2.Item, node: item_pb2.Filter) -> object:
        value = item.attributes.get(node.comparison.field)
        return None if value is None else getattr(value, _kind(value))

    def _typed(self, name: str, value: item_pb2.Value) -> item_pb2.Value:
        given = _kind(value)
        expected = self._kinds.get(name, given)
        if given == expected:
            return value
        if (given, expected) == ("int_value", "double_value"):
            return translate.value_message(float(value.int_value))
        raise InvalidArgumentError(f"attribute {name!r} is a {expected} in this catalogue, and was put as a {given}")


def digest(image: bytes) -> str:
    """SHA-256 in lower-case hexadecimal: the image's id."""
    return hashlib.sha256(image).hexdigest()


def size(image: bytes) -> tuple[int, int]:
    """Width and height of the upright image in pixels; raises InvalidImageError unless it decodes."""
    try:
        with PillowImage.open(BytesIO(image), formats=("JPEG", "PNG", "WEBP")) as opened:
            opened.load()
            return ImageOps.exif_transpose(opened).size
    except (OSError, SyntaxError, ValueError):
        raise InvalidImageError(f"the {len(image)} bytes are not a whole JPEG, PNG or WebP image") from None


def _hit(item: item_pb2.Item, photo: str, similar: Mapping[str, float], with_attributes: bool) -> search_pb2.Hit:
    def similarity(image: item_pb2.ItemImage) -> float:
        return 1.0 if image.image_id == photo else _pseudo_random(photo + image.image_id).uniform(0, UNRELATED)

    best = max(item.images, key=similarity)
    return search_pb2.Hit(
        item_id=item.item_id,
        similarity=similar.get(item.item_id, similarity(best)),
        image_id=best.image_id,
        box=item_pb2.Box(x2=best.width, y2=best.height),
        attributes=item.attributes if with_attributes else {},
    )


def _embedding(key: str) -> list[float]:
    numbers = [_pseudo_random(f"{key} {index}").uniform(-1, 1) for index in range(DIMENSION)]
    length = sqrt(sum(number * number for number in numbers))
    return [number / length for number in numbers]


def _pseudo_random(key: str) -> random.Random:
    """The same numbers for the same text, in every process."""
    return random.Random(hashlib.sha256(key.encode()).digest())


def _kind(value: item_pb2.Value) -> str:
    kind = value.WhichOneof("kind")
    if kind is None:
        raise InvalidArgumentError("a value is empty; set one of its kinds")
    return kind


def _children(node: item_pb2.Filter) -> list[item_pb2.Filter]:
    match node.WhichOneof("node"):
        case "all":
            return list(node.all.filters)
        case "any":
            return list(node.any.filters)
        case "not":
            return [getattr(node, "not")]
    return []
