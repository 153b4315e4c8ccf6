"""What is fuzzed within one process: each target takes any bytes, and raises where the product does what it must not.

libFuzzer drives them in `tests.fuzz.guided`, seeds and changes of them in `test_targets.py`.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from semblance.orchestrator.adapters.expression import equal_to_one_of, expression, one_of
from semblance.orchestrator.catalog import MAX_IMAGES
from semblance.orchestrator.decode import ImageLimits, decode
from semblance.orchestrator.errors import InvalidArgument, InvalidImage
from semblance.orchestrator.evaluation import Evaluation
from semblance.orchestrator.feedback import MAX_HITS, VERDICTS, Kind
from semblance.orchestrator.filter import ITEM_ID, All, Any, Comparison, Filter, Not, check_filter
from semblance.orchestrator.grpc_edge import feedback_translate, release_translate, translate
from semblance.orchestrator.grpc_edge.kserve import tensors
from semblance.orchestrator.grpc_edge.status import MAX_MESSAGE_BYTES, fault
from semblance.orchestrator.item import AttributeType, Value
from semblance.orchestrator.measure import METRICS, Measure
from semblance.orchestrator.requirement import parse_requirements
from semblance.v1.catalog_pb2 import ListRequest, PutRequest
from semblance.v1.feedback_pb2 import DeleteFeedbackRequest, FeedbackChoice, GiveFeedbackRequest
from semblance.v1.release_pb2 import (
    ActivateReleaseRequest,
    BuildItemsRequest,
    CanaryRequest,
    CreateReleaseRequest,
    RecordEvaluationRequest,
)
from semblance.v1.search_pb2 import SearchRequest

CORPUS = Path(__file__).parent / "corpus"

# Small, so that a run is fast and a decoder that ignores them stands out in memory.
LIMITS = ImageLimits(max_bytes=2**17, max_pixels=2**18)
ENOUGH = 16

TYPES = {
    "colour": AttributeType.STRING,
    "price": AttributeType.DOUBLE,
    "stock": AttributeType.INTEGER,
    "rare": AttributeType.BOOLEAN,
}


@dataclass(frozen=True, slots=True)
class Target:
    """`corpus` is the folder of its seeds and the beginning of their names."""

    check: Callable[[bytes], None]
    corpus: tuple[str, str]

    def seeds(self) -> list[Path]:
        folder, beginning = self.corpus
        return sorted((CORPUS / folder).glob(f"{beginning}*"))


def image(data: bytes) -> None:
    """A photo of the size that it says, or InvalidImage."""
    try:
        photo = decode(data, LIMITS)
    except InvalidImage as error:
        _is_for_a_caller(error)
        return
    height, width = photo.pixels.shape[:2]
    assert photo.pixels.dtype == np.uint8
    assert photo.pixels.shape == (photo.height, photo.width, 3)
    assert 0 < width * height <= LIMITS.max_pixels
    reduced = decode(data, LIMITS, ENOUGH)
    assert (reduced.width, reduced.height) == (width, height)
    assert min(ENOUGH, max(width, height)) <= max(reduced.pixels.shape[:2]) <= max(width, height)


def search(data: bytes) -> None:
    """A query whose filter is an expression that says the same, or InvalidArgument."""
    try:
        request = SearchRequest.FromString(data)
    except DecodeError:
        return
    try:
        seconds = translate.timeout(request)
        query = translate.query(request.image, request.options)
        if query.where is not None:
            check_filter(query.where, TYPES)
            renders_faithfully(query.where)
    except InvalidArgument as error:
        _is_for_a_caller(error)
        return
    assert seconds is None or 0 < seconds < math.inf
    assert 1 <= query.top_k <= translate.MAX_TOP_K
    assert query.measure is None or query.measure in Measure
    assert re.fullmatch("([a-z][a-z0-9_]{0,31})?", query.release_id)


def put(data: bytes) -> None:
    try:
        draft = translate.draft(PutRequest.FromString(data))
    except DecodeError:
        return
    except InvalidArgument as error:
        _is_for_a_caller(error)
        return
    assert 1 <= len(draft.images) <= MAX_IMAGES
    assert all(type(value) in (str, int, float, bool) for value in draft.attributes.values())


def page(data: bytes) -> None:
    try:
        assert 1 <= translate.page_size(ListRequest.FromString(data)) <= translate.MAX_PAGE_SIZE
    except DecodeError:
        return
    except InvalidArgument as error:
        _is_for_a_caller(error)


def release(data: bytes) -> None:
    """The same bytes as what makes, builds, tries, evaluates and activates a release."""
    for check in (_wanted, _built, _canary, _evaluated, _activated):
        try:
            check(data)
        except DecodeError:
            continue
        except InvalidArgument as error:
            _is_for_a_caller(error)


def _wanted(data: bytes) -> None:
    wanted = release_translate.wanted(CreateReleaseRequest.FromString(data))
    assert re.fullmatch("([a-z][a-z0-9_]{0,31})?", wanted.release_id)
    assert wanted.detector != 0
    assert wanted.embedder != 0
    assert wanted.metric in (None, *METRICS)


def _built(data: bytes) -> None:
    request = BuildItemsRequest.FromString(data)
    seconds = translate.timeout(request)
    assert seconds is None or seconds > 0
    assert re.fullmatch("[a-z][a-z0-9_]{0,31}", translate.release_id(request.release_id))
    assert 1 <= len(translate.item_id(request.item_id)) <= translate.MAX_ITEM_ID


def _canary(data: bytes) -> None:
    canary = release_translate.canary(CanaryRequest.FromString(data).share)
    assert canary is None or (0 <= canary.percent <= 100 and all(canary.callers))


def _evaluated(data: bytes) -> None:
    request = RecordEvaluationRequest.FromString(data)
    evaluation = Evaluation(request.against, release_translate.figures(request.figures), datetime.now(UTC))
    for each in evaluation.reported():
        assert each.value is not None
        assert math.isfinite(each.value)
        assert parse_requirements([f"{each.name}>0"])


def _activated(data: bytes) -> None:
    requirements = parse_requirements(release_translate.requirements(ActivateReleaseRequest.FromString(data).require))
    assert not any(math.isnan(each.bound) for each in requirements)


def feedback(data: bytes) -> None:
    """The same bytes as what gives, chooses and deletes feedback."""
    for check in (_given, _chosen, _deleted):
        try:
            check(data)
        except DecodeError:
            continue
        except InvalidArgument as error:
            _is_for_a_caller(error)


def _given(data: bytes) -> None:
    draft = feedback_translate.draft(GiveFeedbackRequest.FromString(data), "somebody")
    assert draft.verdict.kind in VERDICTS
    assert (draft.answered is None) is (draft.verdict.kind is Kind.MISSED)
    assert draft.answered is None or len(draft.answered.hits) <= MAX_HITS
    for box in (draft.verdict.box, draft.answered.box if draft.answered else None):
        assert box is None or all(map(math.isfinite, (box.x1, box.y1, box.x2, box.y2)))


def _chosen(data: bytes) -> None:
    choice = feedback_translate.choice(FeedbackChoice.FromString(data))
    assert set(choice.kinds) <= set(Kind)


def _deleted(data: bytes) -> None:
    choice = feedback_translate.deleted(DeleteFeedbackRequest.FromString(data))
    assert bool(choice.feedback_ids) is not bool(choice.caller)


def infer(data: bytes) -> None:
    """The same search as KServe's message, its options in JSON."""
    try:
        request = service_pb2.ModelInferRequest.FromString(data)
    except DecodeError:
        return
    _infer(request)


def options(data: bytes) -> None:
    """JSON alone, which libFuzzer would seldom reach within a message with lengths in it."""
    request = service_pb2.ModelInferRequest(model_name="search")
    for name, content in (("image", b"x"), ("options", data)):
        request.inputs.add(name=name, datatype="BYTES", shape=[1])
        request.raw_input_contents.append(len(content).to_bytes(4, "little") + content)
    _infer(request)


def _infer(request: service_pb2.ModelInferRequest) -> None:
    try:
        query, outputs = tensors.query(request), tensors.wanted(request)
        if query.where is not None:
            check_filter(query.where, TYPES)
            renders_faithfully(query.where)
    except InvalidArgument as error:
        _is_for_a_caller(error)
        return
    assert outputs
    assert 1 <= query.top_k <= translate.MAX_TOP_K


TARGETS = {
    "image": Target(image, ("images", "")),
    "search": Target(search, ("messages", "SearchService.Search-")),
    "put": Target(put, ("messages", "CatalogService.Put-")),
    "page": Target(page, ("messages", "CatalogService.List-")),
    "release": Target(release, ("messages", "ReleaseService.")),
    "feedback": Target(feedback, ("messages", "FeedbackService.")),
    "infer": Target(infer, ("messages", "GRPCInferenceService.ModelInfer-")),
    "options": Target(options, ("options", "")),
}

# All that an expression is made of; a string is one token, from quote to quote.
_TOKEN = re.compile(
    r'"(?:[^"\\\n\r\0]|\\["\\nrt])*"|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|true|false|and|or|not|exists|in|item_id|attributes'
    r"|==|!=|<=|>=|<|>|[()\[\],-]| "
)
_UNESCAPED = {'\\"': '"', "\\\\": "\\", "\\n": "\n", "\\r": "\r", "\\t": "\t"}


def renders_faithfully(where: Filter) -> None:
    """No text of the filter gets out of its quotes, and each stands where it belongs."""
    for membership in (one_of, equal_to_one_of):
        rendered = expression(where, membership)
        tokens = _TOKEN.findall(rendered)
        assert "".join(tokens) == rendered, "there is something in the expression that is no token of the language"
        strings = [_text(token) for token in tokens if token.startswith('"')]
        assert sorted(strings) == sorted(_strings(where, membership is equal_to_one_of))
        assert tokens.count("(") == tokens.count(")")
        assert tokens.count("[") == tokens.count("]")


def _text(token: str) -> str:
    return re.sub(r"\\.", lambda escape: _UNESCAPED[escape[0]], token[1:-1])


def _strings(where: Filter, path_for_each: bool) -> Iterator[str]:
    """The texts that the expression of a filter holds: each attribute's name where it is looked at, and each string."""
    match where:
        case All(filters) | Any(filters):
            for each in filters:
                yield from _strings(each, path_for_each)
        case Not(child):
            yield from _strings(child, path_for_each)
        case Comparison(field, operator, values):
            yield from (value for value in values if isinstance(value, str))
            if field != ITEM_ID:
                yield from [field] * (1 + _looks(operator == "in", values, path_for_each))


def _looks(membership: bool, values: tuple[Value, ...], path_for_each: bool) -> int:
    if not membership:
        return 1
    if path_for_each:
        return len(values)
    return len({isinstance(value, float) and not _whole(value) for value in values})


def _whole(value: float) -> bool:
    return value.is_integer() and abs(value) < 2**63


def _is_for_a_caller(error: InvalidArgument) -> None:
    message = fault(error).message
    assert message
    assert len(message.encode()) <= MAX_MESSAGE_BYTES + 4
