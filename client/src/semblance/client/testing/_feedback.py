"""What the fake keeps of verdicts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock

from semblance.client._errors import ConflictError, InvalidArgumentError, NotFoundError, WrongStateError
from semblance.client.testing._catalogue import Catalogue, digest, size
from semblance.v1 import feedback_pb2, item_pb2

CALLER = "anybody"
VERDICTS = range(feedback_pb2.RIGHT, feedback_pb2.MISSED + 1)
ABOUT_ITEMS = (feedback_pb2.RIGHT, feedback_pb2.WRONG, feedback_pb2.ITEM)
CONFIRMING = (feedback_pb2.RIGHT, feedback_pb2.ITEM, feedback_pb2.MISSED)


@dataclass(slots=True)
class FeedbackBook:
    """Feedback by id. Methods raise `SemblanceError`s; threads may call them.

    It looks at no pixels: every photo is sharp and well lit. A reference image is the whole photo.
    """

    catalogue: Catalogue
    _known: dict[str, feedback_pb2.Feedback] = field(default_factory=dict)
    _photos: dict[str, bytes] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def give(self, request: feedback_pb2.GiveFeedbackRequest) -> feedback_pb2.GiveFeedbackResponse:
        photo = request.image or self._photo(request.image_id)
        if request.release != "r1":
            raise NotFoundError(f"there is no release {request.release!r}")
        new = self._made(request, photo)
        with self._lock:
            known = self._known.setdefault(new.feedback_id, new)
            if _said(known) != _said(new):
                raise ConflictError(f"feedback {new.feedback_id!r} is there already and says something else")
            self._photos[new.image_id] = photo
        return feedback_pb2.GiveFeedbackResponse(feedback_id=new.feedback_id, created=known is new)

    def page(self, request: feedback_pb2.ListFeedbackRequest) -> feedback_pb2.ListFeedbackResponse:
        length = request.page_size if request.HasField("page_size") else 100
        found = sorted(self._chosen(request.choice), key=lambda each: each.given_at.ToNanoseconds(), reverse=True)
        start = int(request.page_token or 0)
        more = len(found) > start + length
        return feedback_pb2.ListFeedbackResponse(
            feedback=found[start : start + length], next_page_token=str(start + length) if more else ""
        )

    def report(self, request: feedback_pb2.FeedbackReportRequest) -> feedback_pb2.FeedbackReport:
        """The whole alone."""
        whole = feedback_pb2.FeedbackGroup(by="all", name="all")
        for each in self._chosen(request.choice):
            whole.kinds[feedback_pb2.FeedbackKind.Name(each.kind).lower()] += 1
            whole.verdicts += each.kind in VERDICTS
            whole.judged += each.HasField("success")
            whole.right += each.success
        if whole.judged:
            whole.rate = whole.right / whole.judged
            whole.rate_low, whole.rate_high = 0.0, 1.0
        return feedback_pb2.FeedbackReport(groups=[whole])

    def export(self, request: feedback_pb2.ExportFeedbackRequest) -> Iterator[feedback_pb2.ExportedFeedback]:
        last = ""
        for each in sorted(self._chosen(request.choice), key=lambda one: (one.image_id, one.feedback_id)):
            image = b"" if each.image_id == last else self._photos[each.image_id]
            last = each.image_id
            yield feedback_pb2.ExportedFeedback(feedback=each, image=image)

    def delete(self, request: feedback_pb2.DeleteFeedbackRequest) -> feedback_pb2.DeleteFeedbackResponse:
        if bool(request.feedback_ids) == bool(request.caller):
            raise InvalidArgumentError("say what to delete: feedback_ids, or a caller")
        with self._lock:
            gone = [
                each.feedback_id
                for each in self._known.values()
                if each.feedback_id in request.feedback_ids or each.caller == request.caller
            ]
            for feedback_id in gone:
                del self._known[feedback_id]
        return feedback_pb2.DeleteFeedbackResponse(deleted=len(gone))

    def add_reference(self, request: feedback_pb2.AddReferenceRequest) -> feedback_pb2.AddReferenceResponse:
        feedback = self._known.get(request.feedback_id)
        if feedback is None:
            raise NotFoundError(f"there is no feedback {request.feedback_id!r}")
        if feedback.kind not in CONFIRMING or not feedback.item_id:
            raise WrongStateError(f"feedback {request.feedback_id!r} does not say which item the object is")
        added = not feedback.reference_id
        if added and (later := next((each for each in self._known.values() if _takes_back(each, feedback)), None)):
            raise WrongStateError(f"feedback {later.feedback_id!r} later took back {request.feedback_id!r}")
        if added:
            item = self.catalogue.get(feedback.item_id, True)
            item.images.append(item_pb2.ItemImage(data=self._photos[feedback.image_id]))
            self.catalogue.put(item)
            feedback.reference_id = feedback.image_id
        return feedback_pb2.AddReferenceResponse(item_id=feedback.item_id, image_id=feedback.reference_id, added=added)

    def _photo(self, image_id: str) -> bytes:
        if image_id not in self._photos:
            raise NotFoundError(f"there is no image {image_id}")
        return self._photos[image_id]

    def _made(self, request: feedback_pb2.GiveFeedbackRequest, photo: bytes) -> feedback_pb2.Feedback:
        verdict, hits = request.verdict, [hit.item_id for hit in request.object.hits]
        if verdict.kind not in VERDICTS:
            raise InvalidArgumentError("a verdict is one of RIGHT, WRONG, ITEM, BOX, MISSED")
        if verdict.kind in ABOUT_ITEMS and not verdict.item_id:
            raise InvalidArgumentError("the verdict needs the item_id that it is about")
        if verdict.kind in (feedback_pb2.RIGHT, feedback_pb2.WRONG) and verdict.item_id not in hits:
            raise InvalidArgumentError(f"{verdict.item_id!r} is none of the object's hits")
        if (verdict.kind == feedback_pb2.MISSED) == request.HasField("object"):
            raise InvalidArgumentError("MISSED is about no object of the answer, and every other verdict about one")
        width, height = size(photo)
        made = feedback_pb2.Feedback(
            feedback_id=request.feedback_id,
            caller=CALLER,
            release=request.release,
            image_id=digest(photo),
            image_width=width,
            image_height=height,
            kind=verdict.kind,
            item_id=verdict.item_id,
            condition=feedback_pb2.PhotoCondition(sharpness=1000, light=128, size=min(width, height)),
            success=_success(verdict, hits),
        )
        made.given_at.FromDatetime(datetime.now(UTC))
        if verdict.HasField("box"):
            made.box.CopyFrom(verdict.box)
        if request.HasField("object"):
            made.object.source, made.object.score = request.object.source, request.object.score
            made.object.class_name = request.object.class_name
            made.object.box.CopyFrom(request.object.box)
            for hit in request.object.hits[:100]:
                made.object.hits.add(item_id=hit.item_id, similarity=hit.similarity)
        made.feedback_id = request.feedback_id or hashlib.sha256(repr(_said(made)).encode()).hexdigest()[:40]
        return made

    def _chosen(self, choice: feedback_pb2.FeedbackChoice) -> list[feedback_pb2.Feedback]:
        return [
            each
            for each in self._known.values()
            if (not choice.kinds or each.kind in choice.kinds)
            and choice.release in ("", each.release)
            and choice.caller in ("", each.caller)
        ]


def _success(verdict: feedback_pb2.Verdict, hits: list[str]) -> bool | None:
    """As the service tells it: whether the first hit was right."""
    first = verdict.item_id in hits[:1]
    if verdict.kind in (feedback_pb2.RIGHT, feedback_pb2.ITEM):
        return first
    return None if verdict.kind == feedback_pb2.WRONG and not first else False


def _takes_back(later: feedback_pb2.Feedback, feedback: feedback_pb2.Feedback) -> bool:
    """As the service tells it: whether it says that the same object is another item."""
    if later.given_at.ToNanoseconds() <= feedback.given_at.ToNanoseconds() or _place(later) != _place(feedback):
        return False
    if later.kind == feedback_pb2.WRONG:
        return later.item_id == feedback.item_id
    return later.kind in CONFIRMING and later.item_id not in ("", feedback.item_id)


def _place(feedback: feedback_pb2.Feedback) -> tuple[object, ...]:
    box = feedback.object.box if feedback.HasField("object") else feedback.box
    return (feedback.image_id, *map(round, (box.x1, box.y1, box.x2, box.y2)))


def _said(feedback: feedback_pb2.Feedback) -> tuple[object, ...]:
    box = feedback.object.box
    corners = tuple(round(each) for each in (box.x1, box.y1, box.x2, box.y2))
    said = (feedback.kind, feedback.item_id, feedback.box.SerializeToString(deterministic=True))
    return (feedback.caller, feedback.release, feedback.image_id, corners, *said)
