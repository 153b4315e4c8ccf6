"""Between the messages of the wire and the domain. What comes in is checked here, as far as one look at it can tell."""

import json
import math
import re
import reprlib
import unicodedata
from collections.abc import Sequence
from itertools import zip_longest

from google.protobuf.duration_pb2 import Duration

from semblance.orchestrator.box import Box
from semblance.orchestrator.catalog import MAX_IMAGES, Outcome
from semblance.orchestrator.detect import DEFAULT_MIN_SCORE
from semblance.orchestrator.errors import InvalidArgument, InvalidFilter
from semblance.orchestrator.filter import ATTRIBUTE_NAME, ITEM_ID, All, Any, Comparison, Filter, Not, Operator
from semblance.orchestrator.item import Attributes, Item, ItemDraft, Value
from semblance.orchestrator.measure import Measure
from semblance.orchestrator.pipeline import Answer, Objects, Query, Region, Selection
from semblance.orchestrator.ports import Neighbour
from semblance.v1 import catalog_pb2, feedback_pb2, item_pb2, measure_pb2, release_pb2, search_pb2

# It is part of a collection's name, in which Milvus takes letters, digits and underscores alone.
RELEASE_ID = re.compile(r"[a-z][a-z0-9_]{0,31}")
DEFAULT_TOP_K = 10
MAX_TOP_K = 1000
MAX_BOXES = 100
DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000
MAX_ITEM_ID = 256
MAX_ATTRIBUTES = 64
MAX_STRING = 4096
# Of all attributes of an item as JSON, in UTF-8: a JSON field of Milvus holds 65,536.
MAX_ATTRIBUTES_BYTES = 60_000

_OBJECTS = {
    search_pb2.SearchOptions.OBJECTS_UNSPECIFIED: Objects.ALL,
    search_pb2.SearchOptions.ALL: Objects.ALL,
    search_pb2.SearchOptions.LARGEST: Objects.LARGEST,
    search_pb2.SearchOptions.WHOLE_IMAGE: Objects.WHOLE_IMAGE,
}
_MEASURES: dict[int, Measure | None] = {
    measure_pb2.MEASURE_UNSPECIFIED: None,
    **{measure_pb2.Measure.Value(each.name): each for each in Measure},
}
_OPERATORS = {item_pb2.Comparison.Operator.Value(operator.name): operator for operator in Operator}
_OUTCOMES = {
    Outcome.CREATED: catalog_pb2.PutResponse.CREATED,
    Outcome.REPLACED: catalog_pb2.PutResponse.REPLACED,
    Outcome.UNCHANGED: catalog_pb2.PutResponse.UNCHANGED,
}


def query(image: bytes, options: search_pb2.SearchOptions) -> Query:
    """Raises InvalidArgument or InvalidFilter."""
    top_k = options.top_k if options.HasField("top_k") else DEFAULT_TOP_K
    if not 1 <= top_k <= MAX_TOP_K:
        raise InvalidArgument(f"top_k is {top_k}, and must be 1 to {MAX_TOP_K}")
    asked = measure(options.measure)
    min_similarity = options.min_similarity if options.HasField("min_similarity") else -math.inf
    least = -1.0 if asked is None else asked.least
    if options.HasField("min_similarity") and not least <= min_similarity <= 1:
        scale = f"a similarity by {asked}, {least:g} to 1" if asked else f"{least:g} to 1"
        raise InvalidArgument(f"min_similarity is {min_similarity:g}, and must be {scale}")
    return Query(
        image=image,
        selection=_selection(options),
        top_k=top_k,
        min_similarity=min_similarity,
        where=_filter(options.filter) if options.HasField("filter") else None,
        include_attributes=options.include_attributes,
        release_id=release_id(options.release) if options.release else "",
        measure=asked,
    )


def measure(value: measure_pb2.Measure.ValueType) -> Measure | None:
    """None where none is asked for. Raises InvalidArgument for what is none."""
    if value not in _MEASURES:
        names = ", ".join(each.name for each in Measure)
        raise InvalidArgument(f"there is no measure {value}; use one of {names}")
    return _MEASURES[value]


def measure_value(value: Measure) -> measure_pb2.Measure.ValueType:
    return measure_pb2.Measure.Value(value.name)


def release_id(text: str) -> str:
    """Raises InvalidArgument."""
    if not RELEASE_ID.fullmatch(text):
        raise InvalidArgument(
            f"{reprlib.repr(text)} can't be a release's id, as it is part of a collection's name: use up to 32 "
            "lower-case letters, digits and underscores, a letter first"
        )
    return text


def timeout(
    request: search_pb2.SearchRequest | catalog_pb2.PutRequest | release_pb2.BuildItemsRequest,
) -> float | None:
    """Seconds that the caller gives the request, if it says so. Raises InvalidArgument."""
    if not request.HasField("timeout"):
        return None
    seconds = request.timeout.seconds + request.timeout.nanos / 1e9
    if seconds <= 0:
        raise InvalidArgument(f"timeout is {seconds:g} s, and must be more than nothing")
    return seconds


def _selection(options: search_pb2.SearchOptions) -> Selection:
    min_score = options.min_detection_score if options.HasField("min_detection_score") else DEFAULT_MIN_SCORE
    if not 0 <= min_score <= 1:
        raise InvalidArgument(f"min_detection_score is {min_score:g}, and must be 0 to 1")
    if options.objects not in _OBJECTS:
        raise InvalidArgument(f"objects is {options.objects}, and must be ALL, LARGEST or WHOLE_IMAGE")
    if options.boxes and options.objects:
        raise InvalidArgument("boxes and objects exclude each other; give one of the two")
    if len(options.boxes) > MAX_BOXES:
        raise InvalidArgument(f"{len(options.boxes)} boxes are given, and at most {MAX_BOXES} are accepted")
    boxes = tuple(Box(box.x1, box.y1, box.x2, box.y2) for box in options.boxes)
    return Selection(_OBJECTS[options.objects], boxes, min_score)


def _filter(message: item_pb2.Filter) -> Filter:
    match message.WhichOneof("node"):
        case "comparison":
            return _comparison(message.comparison)
        case "all":
            return All(tuple(map(_filter, message.all.filters)))
        case "any":
            return Any(tuple(map(_filter, message.any.filters)))
        case "not":
            return Not(_filter(getattr(message, "not")))
    raise InvalidFilter("a filter must be a comparison, all, any or not, and one is empty")


def _comparison(message: item_pb2.Comparison) -> Comparison:
    if message.operator not in _OPERATORS:
        names = ", ".join(operator.name for operator in Operator)
        raise InvalidFilter(f"the comparison of {message.field!r} has no operator; use one of {names}")
    values = tuple(_value(value, f"a value compared with {message.field!r}", InvalidFilter) for value in message.values)
    return Comparison(message.field, _OPERATORS[message.operator], values)


def _value(message: item_pb2.Value, title: str, refusal: type[InvalidArgument]) -> Value:
    match message.WhichOneof("kind"):
        case "string_value":
            if len(message.string_value) > MAX_STRING or "\0" in message.string_value:
                raise refusal(f"{title} must have at most {MAX_STRING} characters and no NUL among them")
            return message.string_value
        case "int_value":
            return message.int_value
        case "double_value":
            if not math.isfinite(message.double_value):
                raise refusal(f"{title} is {message.double_value}, and must be a finite number")
            return message.double_value
        case "bool_value":
            return message.bool_value
    raise refusal(f"{title} is empty; give a string, an integer, a double or a boolean")


def item_id(text: str) -> str:
    if not 1 <= len(text) <= MAX_ITEM_ID:
        raise InvalidArgument(f"an item_id must have 1 to {MAX_ITEM_ID} characters, and this one has {len(text)}")
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise InvalidArgument(f"item_id {text!r} has control characters; leave them out")
    return text


def draft(request: catalog_pb2.PutRequest) -> ItemDraft:
    """Raises InvalidArgument."""
    item = request.item
    if not 1 <= len(item.images) <= MAX_IMAGES:
        raise InvalidArgument(f"an item must have 1 to {MAX_IMAGES} images, and this one has {len(item.images)}")
    return ItemDraft(item_id(item.item_id), _draft_attributes(item), tuple(image.data for image in item.images))


def _draft_attributes(item: item_pb2.Item) -> Attributes:
    if len(item.attributes) > MAX_ATTRIBUTES:
        raise InvalidArgument(f"an item may have {MAX_ATTRIBUTES} attributes, and this one has {len(item.attributes)}")
    for name in item.attributes:
        if not ATTRIBUTE_NAME.fullmatch(name) or name == ITEM_ID:
            raise InvalidArgument(
                f"{name!r} can't be an attribute's name: use up to 64 letters, digits and underscores, no digit first, "
                f"and not {ITEM_ID}"
            )
    attributes = {
        name: _value(value, f"attribute {name}", InvalidArgument) for name, value in sorted(item.attributes.items())
    }
    size = len(json.dumps(attributes, ensure_ascii=False).encode())
    if size > MAX_ATTRIBUTES_BYTES:
        raise InvalidArgument(
            f"the attributes have {size:,} bytes as JSON, and at most {MAX_ATTRIBUTES_BYTES:,} are accepted"
        )
    return attributes


def page_size(
    request: catalog_pb2.ListRequest | feedback_pb2.ListFeedbackRequest | release_pb2.ListPendingRequest,
) -> int:
    size = request.page_size if request.HasField("page_size") else DEFAULT_PAGE_SIZE
    if not 1 <= size <= MAX_PAGE_SIZE:
        raise InvalidArgument(f"page_size is {size}, and must be 1 to {MAX_PAGE_SIZE}")
    return size


def outcome(value: Outcome) -> catalog_pb2.PutResponse.Outcome.ValueType:
    return _OUTCOMES[value]


def item_message(item: Item, files: Sequence[bytes] = ()) -> item_pb2.Item:
    """`files` are the images' bytes, where asked for."""
    message = item_pb2.Item(
        item_id=item.item_id,
        attributes=_attributes(item.attributes),
        images=[
            item_pb2.ItemImage(
                image_id=image.image_id, width=image.width, height=image.height, vectors=image.vectors, data=data
            )
            for image, data in zip_longest(item.images, files)
        ],
    )
    message.created_at.FromDatetime(item.created_at)
    message.updated_at.FromDatetime(item.updated_at)
    return message


def search_response(request: search_pb2.SearchRequest, answer: Answer) -> search_pb2.SearchResponse:
    options, description = request.options, answer.description
    objects = [_object_hits(region, hits) for region, hits in zip(description.regions, answer.hits, strict=True)]
    if options.include_embeddings:
        for found, vector in zip(objects, description.vectors, strict=True):
            found.embedding.extend(vector.tolist())
    return search_pb2.SearchResponse(
        request_id=request.request_id,
        release=answer.release_id,
        image_width=description.width,
        image_height=description.height,
        objects=objects,
        nothing_detected=description.nothing_detected,
        timings=_timings(answer) if options.include_timings else None,
        measure=measure_value(answer.measure),
    )


def _object_hits(region: Region, hits: Sequence[Neighbour]) -> search_pb2.ObjectHits:
    message = search_pb2.ObjectHits(box=_box(region.box), hits=map(_hit, hits))
    if region.detection:
        message.source = search_pb2.ObjectHits.DETECTED
        message.score = region.detection.score
        message.class_name = region.detection.class_name
    else:
        message.source = search_pb2.ObjectHits.GIVEN if region.given else search_pb2.ObjectHits.WHOLE_IMAGE
    return message


def _hit(hit: Neighbour) -> search_pb2.Hit:
    return search_pb2.Hit(
        item_id=hit.item_id,
        similarity=hit.similarity,
        image_id=hit.image_id,
        box=_box(hit.box),
        attributes=_attributes(hit.attributes),
    )


def _box(box: Box) -> item_pb2.Box:
    return item_pb2.Box(x1=box.x1, y1=box.y1, x2=box.x2, y2=box.y2)


def _attributes(attributes: Attributes) -> dict[str, item_pb2.Value]:
    return {name: _value_message(value) for name, value in attributes.items()}


def _value_message(value: Value) -> item_pb2.Value:
    match value:
        case bool():
            return item_pb2.Value(bool_value=value)
        case int():
            return item_pb2.Value(int_value=value)
        case float():
            return item_pb2.Value(double_value=value)
        case str():
            return item_pb2.Value(string_value=value)


def _timings(answer: Answer) -> search_pb2.Timings:
    stages = answer.stopwatch.stages
    return search_pb2.Timings(
        decode=_duration(stages["decode"]),
        detect=_duration(stages["detect"]),
        crop=_duration(stages["crop"]),
        embed=_duration(stages["embed"]),
        search=_duration(stages["search"]),
        total=_duration(answer.stopwatch.total()),
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMicroseconds(round(seconds * 1e6))
    return duration
