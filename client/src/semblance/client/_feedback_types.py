"""What people say of answers. Boxes are in pixels of the upright photo, times in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Self

from semblance.client._types import Box, Source


class FeedbackKind(StrEnum):
    """The first five are verdicts, the others what the service collects by itself."""

    RIGHT = "right"
    WRONG = "wrong"
    ITEM = "item"
    BOX = "box"
    MISSED = "missed"
    NOTHING_DETECTED = "nothing_detected"
    LOW_SIMILARITY = "low_similarity"
    NARROW_MARGIN = "narrow_margin"


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A photo that the service has from earlier feedback of the same caller, of anybody for an admin, by the SHA-256 of
    its bytes in lower-case hexadecimal."""

    image_id: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of an answer; make one with `right`, `wrong`, `item`, `box_wrong` or `missed`."""

    kind: FeedbackKind
    item_id: str = ""
    box: Box | None = None

    @classmethod
    def right(cls, item_id: str) -> Self:
        """This hit is the item that the object is."""
        return cls(FeedbackKind.RIGHT, item_id)

    @classmethod
    def wrong(cls, item_id: str) -> Self:
        """This hit is another item."""
        return cls(FeedbackKind.WRONG, item_id)

    @classmethod
    def item(cls, item_id: str) -> Self:
        """The object is that item, whether it was a hit or not."""
        return cls(FeedbackKind.ITEM, item_id)

    @classmethod
    def box_wrong(cls, right_box: Box | None = None) -> Self:
        """The object's box is wrong."""
        return cls(FeedbackKind.BOX, box=right_box)

    @classmethod
    def missed(cls, box: Box, item_id: str = "") -> Self:
        """Nothing was detected where something is."""
        return cls(FeedbackKind.MISSED, item_id, box)


@dataclass(frozen=True, slots=True)
class Given:
    """A verdict that the service has; `created` is False where it had it already."""

    feedback_id: str
    created: bool


@dataclass(frozen=True, slots=True)
class RankedItem:
    """A hit; `similarity` is the cosine, -1 to 1."""

    item_id: str
    similarity: float


@dataclass(frozen=True, slots=True)
class AnsweredObject:
    """An object as it was answered: up to 100 hits, most similar first.

    `score` and `class_name` are the detector's; None of an object that was not detected.
    """

    source: Source
    box: Box
    score: float | None
    class_name: str | None
    hits: tuple[RankedItem, ...]


@dataclass(frozen=True, slots=True)
class PhotoCondition:
    """Measured of the object, or of the whole photo.

    Attributes:
        sharpness: variance of the Laplacian of the luma, reduced to 256 pixels along its longer side and given for a
            mean luma of 128.
        light: mean luma, 0 to 255.
        size: the shorter side in pixels of the photo.
    """

    sharpness: float
    light: float
    size: float


@dataclass(frozen=True, slots=True)
class Feedback:
    """A verdict, or an answer that the service suspects.

    Attributes:
        image_id: the photo's SHA-256.
        image_width: of the upright photo in pixels; `image_height` likewise.
        success: whether the first hit was right; None where that is not told.
        answered: None where it is about no object.
        reference_id: the reference image that was made of it; empty where none was.
    """

    feedback_id: str
    caller: str
    given_at: datetime
    release: str
    image_id: str
    image_width: int
    image_height: int
    verdict: Verdict
    success: bool | None
    answered: AnsweredObject | None
    condition: PhotoCondition
    reference_id: str

    @property
    def true_item(self) -> str:
        """What the object is; empty where that is not known."""
        known = (FeedbackKind.RIGHT, FeedbackKind.ITEM, FeedbackKind.MISSED)
        return self.verdict.item_id if self.verdict.kind in known else ""

    @property
    def true_box(self) -> Box | None:
        """Where it is, as far as is known; None of a whole photo."""
        if self.verdict.box is not None:
            return self.verdict.box
        if self.answered is None or self.answered.source is Source.WHOLE_IMAGE:
            return None
        return self.answered.box


@dataclass(frozen=True, slots=True)
class ExportedFeedback:
    """Feedback with its photo; None where an earlier one of the same photo had it."""

    feedback: Feedback
    image: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class FeedbackGroup:
    """A row of a report.

    Attributes:
        by: all, release, class or condition.
        name: such as r1, mug or dark.
        meaning: what a condition's name stands for.
        judged: the verdicts that tell whether the answer was right; `right` are those where it was.
        rate: `right` / `judged`, None where nothing is judged.
        rate_low: the lower end of its 95 % interval (Wilson's score), `rate_high` the upper one.
        kinds: how much there is of each kind.
    """

    by: str
    name: str
    meaning: str
    verdicts: int
    judged: int
    right: int
    rate: float | None
    rate_low: float | None
    rate_high: float | None
    kinds: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class FeedbackReport:
    """The whole first, then by release, class and condition."""

    groups: tuple[FeedbackGroup, ...]


@dataclass(frozen=True, slots=True)
class AddedReference:
    """A reference image of an item; `added` is False where it was made of the same feedback before."""

    item_id: str
    image_id: str
    added: bool
