"""Between the types of feedback and the messages of the wire, as `_translate` is for the others.

Raises InvalidArgumentError for a value that no message can carry.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC

from semblance.client._feedback_types import (
    AddedReference,
    AnsweredObject,
    ExportedFeedback,
    Feedback,
    FeedbackGroup,
    FeedbackKind,
    FeedbackReport,
    Given,
    PhotoCondition,
    RankedItem,
    StoredImage,
    Verdict,
)
from semblance.client._translate import SOURCES, box, box_message, fitting, image_bytes, sendable
from semblance.client._types import ImageInput, ObjectHits
from semblance.v1 import feedback_pb2, search_pb2

_TEXT = "Unicode text"
_KINDS: dict[int, FeedbackKind] = {feedback_pb2.FeedbackKind.Value(kind.name): kind for kind in FeedbackKind}
_NUMBERS = {kind: feedback_pb2.FeedbackKind.Value(kind.name) for kind in FeedbackKind}
_SOURCE_NUMBERS = {source: search_pb2.ObjectHits.Source.Value(source.name) for source in SOURCES.values()}


def give_message(
    image: ImageInput | StoredImage,
    release: str,
    verdict: Verdict,
    answered: ObjectHits | None,
    feedback_id: str,
) -> feedback_pb2.GiveFeedbackRequest:
    """Raises InvalidImageError, too, where the image is a file that can't be read."""
    message = feedback_pb2.GiveFeedbackRequest(verdict=_verdict_message(verdict))
    with sendable("release", release, "Unicode text, such as 'r2'"):
        message.release = release
    with sendable("feedback_id", feedback_id, _TEXT):
        message.feedback_id = feedback_id
    if isinstance(image, StoredImage):
        with sendable("image_id", image.image_id, "a SHA-256 in hexadecimal"):
            message.image_id = image.image_id
    else:
        [message.image] = fitting([image_bytes(image)])
    if answered is not None:
        with sendable("answered", answered, "an object of a search's result"):
            message.object.CopyFrom(_object_message(answered))
    return message


def choice_message(kinds: Collection[FeedbackKind], release: str, caller: str) -> feedback_pb2.FeedbackChoice:
    with sendable("kinds", kinds, "kinds of feedback"):
        numbers = [_NUMBERS[FeedbackKind(kind)] for kind in kinds]
    with sendable("release", release, _TEXT):
        message = feedback_pb2.FeedbackChoice(kinds=numbers, release=release)
    with sendable("caller", caller, _TEXT):
        message.caller = caller
    return message


def delete_message(feedback_ids: Sequence[str], caller: str) -> feedback_pb2.DeleteFeedbackRequest:
    with sendable("feedback_ids", feedback_ids, "texts"):
        message = feedback_pb2.DeleteFeedbackRequest(feedback_ids=feedback_ids)
    with sendable("caller", caller, _TEXT):
        message.caller = caller
    return message


def reference_message(feedback_id: str) -> feedback_pb2.AddReferenceRequest:
    with sendable("feedback_id", feedback_id, _TEXT):
        return feedback_pb2.AddReferenceRequest(feedback_id=feedback_id)


def given(message: feedback_pb2.GiveFeedbackResponse) -> Given:
    return Given(message.feedback_id, message.created)


def feedback(message: feedback_pb2.Feedback) -> Feedback | None:
    """None of a kind that a newer service may have and this version does not know."""
    if message.kind not in _KINDS:
        return None
    right_box = box(message.box) if message.HasField("box") else None
    return Feedback(
        feedback_id=message.feedback_id,
        caller=message.caller,
        given_at=message.given_at.ToDatetime(UTC),
        release=message.release,
        image_id=message.image_id,
        image_width=message.image_width,
        image_height=message.image_height,
        verdict=Verdict(_KINDS[message.kind], message.item_id, right_box),
        success=message.success if message.HasField("success") else None,
        answered=_answered(message.object) if message.HasField("object") else None,
        condition=PhotoCondition(message.condition.sharpness, message.condition.light, message.condition.size),
        reference_id=message.reference_id,
    )


def exported(message: feedback_pb2.ExportedFeedback) -> ExportedFeedback | None:
    """None as `feedback`."""
    found = feedback(message.feedback)
    return ExportedFeedback(found, message.image or None) if found else None


def report(message: feedback_pb2.FeedbackReport) -> FeedbackReport:
    return FeedbackReport(tuple(map(_group, message.groups)))


def added_reference(message: feedback_pb2.AddReferenceResponse) -> AddedReference:
    return AddedReference(message.item_id, message.image_id, message.added)


def _verdict_message(verdict: Verdict) -> feedback_pb2.Verdict:
    with sendable("verdict", verdict, "a Verdict, such as Verdict.right('mug-7')"):
        return feedback_pb2.Verdict(
            kind=_NUMBERS[verdict.kind],
            item_id=verdict.item_id,
            box=None if verdict.box is None else box_message(verdict.box),
        )


def _object_message(answered: ObjectHits) -> search_pb2.ObjectHits:
    """What is kept of it."""
    return search_pb2.ObjectHits(
        source=_SOURCE_NUMBERS[answered.source],
        box=box_message(answered.box),
        score=answered.score or 0.0,
        class_name=answered.class_name or "",
        hits=[search_pb2.Hit(item_id=hit.item_id, similarity=hit.similarity) for hit in answered.hits],
    )


def _answered(message: feedback_pb2.AnsweredObject) -> AnsweredObject:
    detected = message.source == search_pb2.ObjectHits.DETECTED
    return AnsweredObject(
        source=SOURCES[message.source],
        box=box(message.box),
        score=message.score if detected else None,
        class_name=message.class_name if detected else None,
        hits=tuple(RankedItem(hit.item_id, hit.similarity) for hit in message.hits),
    )


def _group(message: feedback_pb2.FeedbackGroup) -> FeedbackGroup:
    known = message.HasField("rate")
    return FeedbackGroup(
        by=message.by,
        name=message.name,
        meaning=message.meaning,
        verdicts=message.verdicts,
        judged=message.judged,
        right=message.right,
        rate=message.rate if known else None,
        rate_low=message.rate_low if known else None,
        rate_high=message.rate_high if known else None,
        kinds=dict(message.kinds),
    )
