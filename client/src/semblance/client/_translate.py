"""Between the types of this client and the messages of the wire. Pure functions, but for reading image files."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path

from google.protobuf.duration_pb2 import Duration

from semblance.client import _filters as filters
from semblance.client._errors import (
    InternalError,
    InvalidArgumentError,
    InvalidFilterError,
    InvalidImageError,
    SemblanceError,
    from_failure,
)
from semblance.client._filters import Attribute, Filter, Operator
from semblance.client._types import (
    Box,
    Counts,
    Hit,
    ImageInput,
    Item,
    ItemImage,
    Measure,
    NewItem,
    ObjectHits,
    Objects,
    Outcome,
    SearchRequest,
    SearchResult,
    Source,
    Timings,
)
from semblance.v1 import catalog_pb2, item_pb2, measure_pb2, search_pb2

MAX_MESSAGE_BYTES = 64 * 2**20
"""The largest message that goes over the wire, in either direction."""

MAX_FILTER_DEPTH = 40
"""Protobuf reads messages that are at most 100 deep in each other, and a condition in another is up to 2 deeper. The
service accepts fewer."""

ITEM_ID = "Unicode text of 1 to 256 characters"
_VALUE = "Unicode text, a whole number of 64 bits, a float or a bool"
_OPTIONS = {
    "top_k": "a whole number from 1 to 1000",
    "min_detection_score": "a number from 0 to 1",
    "min_similarity": "a number from -1 to 1, or from 0 to 1, on the scale of the measure",
    "include_attributes": "a bool",
    "include_embeddings": "a bool",
    "include_timings": "a bool",
    "release": "a release's id, such as 'r2'",
}
"""Fields that a request and its options share, and what each must be."""

_OBJECTS: dict[Objects, search_pb2.SearchOptions.Objects.ValueType] = {
    "all": search_pb2.SearchOptions.ALL,
    "largest": search_pb2.SearchOptions.LARGEST,
    "whole_image": search_pb2.SearchOptions.WHOLE_IMAGE,
}
_MEASURES: dict[Measure, measure_pb2.Measure.ValueType] = {
    "cosine": measure_pb2.COSINE,
    "inner_product": measure_pb2.INNER_PRODUCT,
    "l2": measure_pb2.L2,
    "manhattan": measure_pb2.MANHATTAN,
    "hamming": measure_pb2.HAMMING,
}
_OPERATORS: dict[Operator, item_pb2.Comparison.Operator.ValueType] = {
    operator: item_pb2.Comparison.Operator.Value(operator.name) for operator in Operator
}
SOURCES: dict[int, Source] = {search_pb2.ObjectHits.Source.Value(source.name): source for source in Source}
_OUTCOMES: dict[int, Outcome] = {catalog_pb2.PutResponse.Outcome.Value(outcome.name): outcome for outcome in Outcome}


def image_bytes(image: ImageInput) -> bytes:
    """The image's bytes, read where it is a path.

    Raises:
        InvalidImageError: the file can't be read.
    """
    if isinstance(image, bytes):
        return image
    with sendable("image", image, "the bytes of an image file or its path", InvalidImageError):
        try:
            return Path(image).read_bytes()
        except OSError as error:
            raise InvalidImageError(f"cannot read {image}: {error.strerror}") from error


def search_message(
    request: SearchRequest, request_id: str = "", timeout: float | None = None
) -> search_pb2.SearchRequest:
    """The request as a message; `timeout` is in seconds.

    Raises:
        InvalidImageError: the image is a file that can't be read.
        InvalidFilterError: no message can carry the filter.
        InvalidArgumentError: no message can carry another value, or the image is too large for one.
    """
    if request.objects not in _OBJECTS:
        expected = ", ".join(map(repr, _OBJECTS))
        raise InvalidArgumentError(f"objects is {request.objects!r}, but must be one of {expected}")
    if request.boxes and request.objects != "all":
        raise InvalidArgumentError(f"boxes exclude objects={request.objects!r}: give one of the two")
    options = search_pb2.SearchOptions(
        filter=None if request.filter is None else filter_message(request.filter),
        objects=search_pb2.SearchOptions.OBJECTS_UNSPECIFIED if request.boxes else _OBJECTS[request.objects],
        boxes=map(box_message, request.boxes),
    )
    for name, expected in _OPTIONS.items():
        value = getattr(request, name)
        if value is not None:
            with sendable(name, value, expected):
                setattr(options, name, value)
    options.measure = measure_value(request.measure, "measure")
    [image] = fitting([image_bytes(request.image)])
    return search_pb2.SearchRequest(request_id=request_id, image=image, options=options, timeout=duration(timeout))


def measure_value(measure: Measure | None, name: str) -> measure_pb2.Measure.ValueType:
    """The enumeration's, MEASURE_UNSPECIFIED for None. Raises InvalidArgumentError for what is none."""
    if measure is None:
        return measure_pb2.MEASURE_UNSPECIFIED
    if measure not in _MEASURES:
        raise InvalidArgumentError(f"{name} is {measure!r}, but must be one of {', '.join(map(repr, _MEASURES))}")
    return _MEASURES[measure]


def measure_of(value: int) -> Measure:
    """A service that names none knows no other than cosine."""
    if value == measure_pb2.MEASURE_UNSPECIFIED:
        return "cosine"
    for measure, known in _MEASURES.items():
        if known == value:
            return measure
    raise InternalError("the service answers by a measure that this client does not know: update it")


def put_message(new: NewItem, timeout: float | None = None) -> catalog_pb2.PutRequest:
    """The item as a message; `timeout` is in seconds.

    Raises:
        InvalidImageError: an image is a file that can't be read.
        InvalidArgumentError: no message can carry a value, or the images are too large for one.
    """
    with sendable("item_id", new.item_id, ITEM_ID):
        item = item_pb2.Item(item_id=new.item_id)
    for name, value in new.attributes.items():
        with sendable("an attribute's name", name, "Unicode text"):
            attribute = item.attributes[name]
        with sendable(f"attribute {name}", value, _VALUE):
            attribute.CopyFrom(value_message(value))
    item.images.extend(item_pb2.ItemImage(data=data) for data in fitting([image_bytes(image) for image in new.images]))
    return catalog_pb2.PutRequest(item=item, timeout=duration(timeout))


def get_message(item_id: str, include_image_data: bool) -> catalog_pb2.GetRequest:
    """Raises InvalidArgumentError for an id that no message can carry."""
    with sendable("item_id", item_id, ITEM_ID):
        return catalog_pb2.GetRequest(item_id=item_id, include_image_data=include_image_data)


def delete_message(item_id: str) -> catalog_pb2.DeleteRequest:
    """Raises InvalidArgumentError for an id that no message can carry."""
    with sendable("item_id", item_id, ITEM_ID):
        return catalog_pb2.DeleteRequest(item_id=item_id)


def value_message(value: Attribute) -> item_pb2.Value:
    """Raises TypeError or ValueError for what is no attribute."""
    match value:
        case bool():
            return item_pb2.Value(bool_value=value)
        case int():
            return item_pb2.Value(int_value=value)
        case float():
            return item_pb2.Value(double_value=value)
        case str():
            return item_pb2.Value(string_value=value)
    raise TypeError(f"an attribute is {value!r} ({type(value).__name__}), but must be a str, int, float or bool")


def filter_message(node: Filter, depth: int = 1) -> item_pb2.Filter:
    """The filter, `depth` deep in another, as a message.

    Raises:
        InvalidFilterError: no message can carry it.
    """
    if depth > MAX_FILTER_DEPTH:
        raise InvalidFilterError(f"the filter is more than {MAX_FILTER_DEPTH} conditions deep; nest them less")
    match node:
        case filters.Comparison(field, operator, values):
            with sendable("a filter's field", field, "Unicode text", InvalidFilterError):
                comparison = item_pb2.Comparison(field=field, operator=_OPERATORS[operator])
            for value in values:
                with sendable(f"a value compared with {field}", value, _VALUE, InvalidFilterError):
                    comparison.values.append(value_message(value))
            return item_pb2.Filter(comparison=comparison)
        case filters.All(nodes):
            return item_pb2.Filter(all=_filter_list(nodes, depth + 1))
        case filters.Any(nodes):
            return item_pb2.Filter(any=_filter_list(nodes, depth + 1))
        case filters.Not(inner):
            message = item_pb2.Filter()
            # `not` is a keyword of Python.
            getattr(message, "not").CopyFrom(filter_message(inner, depth + 1))
            return message
    raise InvalidFilterError(f"a filter is made with field(...) and &, | and ~, not {reprlib.repr(node)}")


def search_result(message: search_pb2.SearchResponse) -> SearchResult:
    return SearchResult(
        release=message.release,
        image_width=message.image_width,
        image_height=message.image_height,
        objects=tuple(map(_object_hits, message.objects)),
        nothing_detected=message.nothing_detected,
        timings=_timings(message.timings) if message.HasField("timings") else None,
        measure=measure_of(message.measure),
    )


def stream_result(message: search_pb2.SearchStreamResponse) -> SearchResult | SemblanceError:
    """The result, or the error as a value, of one request of a stream."""
    match message.WhichOneof("result"):
        case "response":
            return search_result(message.response)
        case "failure":
            return from_failure(message.failure)
    return InternalError("the service answered with neither a result nor a failure")


def put_outcome(message: catalog_pb2.PutResponse) -> Outcome | SemblanceError:
    """What the put did, or the error as a value."""
    match message.WhichOneof("result"):
        case "outcome" if message.outcome in _OUTCOMES:
            return _OUTCOMES[message.outcome]
        case "failure":
            return from_failure(message.failure)
    return InternalError("the service answered with neither an outcome nor a failure")


def item(message: item_pb2.Item) -> Item:
    return Item(
        item_id=message.item_id,
        attributes=_attributes(message.attributes),
        images=tuple(
            ItemImage(image.image_id, image.width, image.height, image.vectors, image.data or None)
            for image in message.images
        ),
        created_at=message.created_at.ToDatetime(UTC),
        updated_at=message.updated_at.ToDatetime(UTC),
    )


def counts(message: catalog_pb2.CountResponse) -> Counts:
    return Counts(message.items, message.images, message.vectors)


def fitting(images: list[bytes]) -> list[bytes]:
    """The images, if a message can carry them: the rest of it is given a MiB."""
    total, limit = sum(map(len, images)), MAX_MESSAGE_BYTES - 2**20
    if total > limit:
        raise InvalidArgumentError(
            f"the images have {total / 2**20:.1f} MiB, but one request carries at most {limit >> 20} MiB"
        )
    return images


@contextmanager
def sendable(
    name: str, value: object, expected: str, refusal: type[InvalidArgumentError] = InvalidArgumentError
) -> Iterator[None]:
    """Raises what the block makes of a value that it can't take as an error of this client that names the value."""
    try:
        yield
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise refusal(f"{name} is {reprlib.repr(value)}, but must be {expected}") from error


def _filter_list(nodes: Iterable[Filter], depth: int) -> item_pb2.FilterList:
    return item_pb2.FilterList(filters=(filter_message(node, depth) for node in nodes))


def box_message(box: Box) -> item_pb2.Box:
    with sendable("a box", box, "a Box of four numbers"):
        return item_pb2.Box(x1=box.x1, y1=box.y1, x2=box.x2, y2=box.y2)


def duration(seconds: float | None) -> Duration | None:
    """None where no time is named."""
    if seconds is None:
        return None
    message = Duration()
    with sendable("timeout", seconds, "a number of seconds"):
        message.FromNanoseconds(round(seconds * 1e9))
    return message


def _object_hits(message: search_pb2.ObjectHits) -> ObjectHits:
    source = SOURCES[message.source]
    detected = source is Source.DETECTED
    return ObjectHits(
        source=source,
        box=box(message.box),
        score=message.score if detected else None,
        class_name=message.class_name if detected else None,
        hits=tuple(
            Hit(hit.item_id, hit.similarity, hit.image_id, box(hit.box), _attributes(hit.attributes))
            for hit in message.hits
        ),
        embedding=tuple(message.embedding) or None,
    )


def box(message: item_pb2.Box) -> Box:
    return Box(message.x1, message.y1, message.x2, message.y2)


def _timings(message: search_pb2.Timings) -> Timings:
    stages: Iterable[Duration] = (
        message.decode,
        message.detect,
        message.crop,
        message.embed,
        message.search,
        message.total,
    )
    return Timings(*(stage.seconds + stage.nanos / 1e9 for stage in stages))


def _attributes(messages: Mapping[str, item_pb2.Value]) -> dict[str, Attribute]:
    return {name: attribute for name, value in messages.items() if (attribute := _attribute(value)) is not None}


def _attribute(message: item_pb2.Value) -> Attribute | None:
    """None for a kind of value that a newer service may send and this version does not know."""
    match message.WhichOneof("kind"):
        case "string_value":
            return message.string_value
        case "int_value":
            return message.int_value
        case "double_value":
            return message.double_value
        case "bool_value":
            return message.bool_value
    return None
