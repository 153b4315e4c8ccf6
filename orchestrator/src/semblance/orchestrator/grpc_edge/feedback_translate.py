"""Between the messages of `FeedbackService` and the domain, as `translate` is for the others."""

import math
import re
import reprlib
import unicodedata
from collections.abc import Sequence

from semblance.orchestrator.box import Box
from semblance.orchestrator.errors import InvalidArgument
from semblance.orchestrator.feedback import (
    MAX_HITS,
    VERDICTS,
    AnsweredObject,
    Choice,
    Feedback,
    FeedbackPage,
    Group,
    Kind,
    RankedItem,
    Source,
    Verdict,
)
from semblance.orchestrator.grpc_edge import release_translate, translate
from semblance.orchestrator.interval import wilson
from semblance.orchestrator.verdicts import Draft
from semblance.v1 import feedback_pb2, item_pb2, search_pb2

FEEDBACK_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
IMAGE_ID = re.compile(r"[0-9a-f]{64}")
# Of hits in an answer that a verdict is about: the most that one object of an answer has.
MAX_ANSWERED = translate.MAX_TOP_K
MAX_CLASS_NAME = 256
MAX_IDS = 1000

_KINDS = {feedback_pb2.FeedbackKind.Value(kind.name): kind for kind in Kind}
_MESSAGES = {kind: number for number, kind in _KINDS.items()}
_SOURCES = {search_pb2.ObjectHits.Source.Value(source.name): source for source in Source}
_SOURCE_MESSAGES = {source: number for number, source in _SOURCES.items()}


def draft(request: feedback_pb2.GiveFeedbackRequest, caller: str) -> Draft:
    """Raises InvalidArgument."""
    photo = _photo(request)
    verdict = _verdict(request.verdict)
    if verdict.kind is Kind.MISSED and request.HasField("object"):
        raise InvalidArgument("MISSED is about no object of the answer; leave `object` out")
    answered = _answered(request.object) if verdict.kind is not Kind.MISSED else None
    if verdict.kind in (Kind.RIGHT, Kind.WRONG):
        judged = [hit.item_id for hit in request.object.hits]
        if verdict.item_id not in judged:
            raise InvalidArgument(
                f"{verdict.kind.name} judges a hit, and {verdict.item_id!r} is none of the object's; send the hits as "
                "they were answered, or use ITEM to say what the object is"
            )
    return Draft(
        feedback_id=feedback_id(request.feedback_id) if request.feedback_id else "",
        caller=caller,
        release_id=translate.release_id(request.release),
        photo=photo,
        verdict=verdict,
        answered=answered,
    )


def feedback_id(text: str) -> str:
    """Raises InvalidArgument."""
    if not FEEDBACK_ID.fullmatch(text):
        raise InvalidArgument(
            f"{reprlib.repr(text)} can't be the id of feedback: use 1 to 64 letters, digits, hyphens and underscores"
        )
    return text


def choice(message: feedback_pb2.FeedbackChoice) -> Choice:
    """Raises InvalidArgument."""
    if unknown := [kind for kind in message.kinds if kind not in _KINDS]:
        raise InvalidArgument(
            f"{unknown[0]} is no kind of feedback; use one of {', '.join(kind.name for kind in Kind)}"
        )
    return Choice(
        kinds=frozenset(_KINDS[kind] for kind in message.kinds),
        release_id=translate.release_id(message.release) if message.release else "",
        caller=_caller(message.caller) if message.caller else "",
    )


def deleted(request: feedback_pb2.DeleteFeedbackRequest) -> Choice:
    """Raises InvalidArgument."""
    if bool(request.feedback_ids) == bool(request.caller):
        raise InvalidArgument("say what to delete: feedback_ids, or a caller")
    if request.caller:
        return Choice(caller=_caller(request.caller))
    if len(request.feedback_ids) > MAX_IDS:
        raise InvalidArgument(f"{len(request.feedback_ids)} ids are given, and at most {MAX_IDS} are accepted")
    return Choice(feedback_ids=tuple(map(feedback_id, request.feedback_ids)))


def feedback_message(feedback: Feedback) -> feedback_pb2.Feedback:
    answered = feedback.answered
    message = feedback_pb2.Feedback(
        feedback_id=feedback.feedback_id,
        caller=feedback.caller,
        release=feedback.release_id,
        image_id=feedback.image_id,
        image_width=feedback.width,
        image_height=feedback.height,
        kind=_MESSAGES[feedback.verdict.kind],
        item_id=feedback.verdict.item_id,
        box=_box_message(feedback.verdict.box) if feedback.verdict.box else None,
        object=_answered_message(answered) if answered else None,
        condition=feedback_pb2.PhotoCondition(
            sharpness=feedback.condition.sharpness, light=feedback.condition.light, size=feedback.condition.size
        ),
        reference_id=feedback.reference_id,
        success=feedback.success,
    )
    message.given_at.FromDatetime(feedback.given_at)
    return message


def list_response(page: FeedbackPage) -> feedback_pb2.ListFeedbackResponse:
    return feedback_pb2.ListFeedbackResponse(
        feedback=map(feedback_message, page.feedback), next_page_token=page.next_page_token
    )


def report_message(groups: Sequence[Group]) -> feedback_pb2.FeedbackReport:
    return feedback_pb2.FeedbackReport(groups=map(_group, groups))


def _group(group: Group) -> feedback_pb2.FeedbackGroup:
    message = feedback_pb2.FeedbackGroup(
        by=group.by,
        name=group.name,
        meaning=group.meaning,
        verdicts=group.verdicts,
        judged=group.judged,
        right=group.right,
        kinds={kind.value: count for kind, count in group.kinds.items()},
    )
    if group.judged:
        message.rate = group.right / group.judged
        message.rate_low, message.rate_high = wilson(group.right, group.judged)
    return message


def _photo(request: feedback_pb2.GiveFeedbackRequest) -> bytes | str:
    match request.WhichOneof("photo"):
        case "image":
            return request.image
        case "image_id" if IMAGE_ID.fullmatch(request.image_id):
            return request.image_id
        case "image_id":
            raise InvalidArgument(
                f"{reprlib.repr(request.image_id)} is no image id: it is a SHA-256, 64 lower-case hexadecimal digits"
            )
    raise InvalidArgument("there is no photo: send the `image` that was searched with, or its `image_id`")


def _verdict(message: feedback_pb2.Verdict) -> Verdict:
    kind = _KINDS.get(message.kind)
    if kind not in VERDICTS:
        raise InvalidArgument(f"a verdict is one of {', '.join(kind.name for kind in Kind if kind in VERDICTS)}")
    item_id = translate.item_id(message.item_id) if message.item_id else ""
    if kind in (Kind.RIGHT, Kind.WRONG, Kind.ITEM) and not item_id:
        raise InvalidArgument(f"{kind.name} needs the item_id that it is about")
    if kind is Kind.BOX and item_id:
        raise InvalidArgument("BOX says nothing of an item; leave item_id out, and give ITEM beside it")
    box = _box("the verdict's box", message.box) if message.HasField("box") else None
    if kind is Kind.MISSED and box is None:
        raise InvalidArgument("MISSED needs the box of what was not detected")
    if kind not in (Kind.MISSED, Kind.BOX) and box is not None:
        raise InvalidArgument(f"{kind.name} takes no box; use BOX to say that the object's is wrong")
    return Verdict(kind, item_id, box)


def _answered(message: search_pb2.ObjectHits) -> AnsweredObject:
    if message.source not in _SOURCES:
        raise InvalidArgument("the verdict needs the object of the answer that it is about, with its source")
    if len(message.hits) > MAX_ANSWERED:
        raise InvalidArgument(f"the object has {len(message.hits)} hits, and at most {MAX_ANSWERED} are accepted")
    if not (0 <= message.score <= 1):
        raise InvalidArgument(f"the object's score is {message.score:g}, and must be 0 to 1")
    if len(message.class_name) > MAX_CLASS_NAME or _has_controls(message.class_name):
        raise InvalidArgument(f"a class has at most {MAX_CLASS_NAME} characters, no control characters among them")
    hits = tuple(map(_ranked, message.hits[:MAX_HITS]))
    box = _box("the object's box", message.box)
    return AnsweredObject(_SOURCES[message.source], box, message.score, message.class_name, hits)


def _ranked(hit: search_pb2.Hit) -> RankedItem:
    if not math.isfinite(hit.similarity):
        raise InvalidArgument(f"the similarity of {hit.item_id!r} is {hit.similarity}, and must be finite")
    return RankedItem(translate.item_id(hit.item_id), hit.similarity)


def _box(name: str, message: item_pb2.Box) -> Box:
    """Whether it lies in the photo is seen when that is decoded."""
    box = Box(message.x1, message.y1, message.x2, message.y2)
    if not all(map(math.isfinite, (box.x1, box.y1, box.x2, box.y2))):
        raise InvalidArgument(f"{name} must be four finite numbers, x1 y1 x2 y2 in pixels of the upright photo")
    return box


def _caller(text: str) -> str:
    if len(text) > release_translate.MAX_CALLER or _has_controls(text):
        raise InvalidArgument(f"{reprlib.repr(text)} is no caller's name; `semblance feedback list` shows them")
    return text


def _has_controls(text: str) -> bool:
    return any(unicodedata.category(character) == "Cc" for character in text)


def _answered_message(answered: AnsweredObject) -> feedback_pb2.AnsweredObject:
    return feedback_pb2.AnsweredObject(
        source=_SOURCE_MESSAGES[answered.source],
        box=_box_message(answered.box),
        score=answered.score,
        class_name=answered.class_name,
        hits=[feedback_pb2.RankedItem(item_id=hit.item_id, similarity=hit.similarity) for hit in answered.hits],
    )


def _box_message(box: Box) -> item_pb2.Box:
    return item_pb2.Box(x1=box.x1, y1=box.y1, x2=box.x2, y2=box.y2)
