"""What people say of answers, and what the service suspects of its own."""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from semblance.orchestrator.box import Box
from semblance.orchestrator.condition import Condition

# Hits of an answer that are kept.
MAX_HITS = 100


class Kind(StrEnum):
    """Verdicts, and suspicions."""

    RIGHT = "right"
    WRONG = "wrong"
    ITEM = "item"
    BOX = "box"
    MISSED = "missed"
    NOTHING_DETECTED = "nothing_detected"
    LOW_SIMILARITY = "low_similarity"
    NARROW_MARGIN = "narrow_margin"


SUSPICIONS = frozenset({Kind.NOTHING_DETECTED, Kind.LOW_SIMILARITY, Kind.NARROW_MARGIN})
"""What the service collects by itself."""

VERDICTS = frozenset(Kind) - SUSPICIONS


class Source(StrEnum):
    """Where an object's box comes from."""

    DETECTED = "detected"
    GIVEN = "given"
    WHOLE_IMAGE = "whole_image"


@dataclass(frozen=True, slots=True)
class RankedItem:
    item_id: str
    similarity: float


@dataclass(frozen=True, slots=True)
class AnsweredObject:
    """An object as it was answered. `score` and `class_name` are the detector's, 0 and empty of one that was not
    detected; `hits` are MAX_HITS at most, most similar first."""

    source: Source
    box: Box
    score: float
    class_name: str
    hits: tuple[RankedItem, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`item_id`: of RIGHT and WRONG the hit that is judged, of ITEM what the object is, of MISSED what it is, empty
    where unknown. `box`: of MISSED where it is, of BOX the right one, if known; in pixels of the upright photo."""

    kind: Kind
    item_id: str = ""
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class Feedback:
    """A verdict or a suspicion.

    Attributes:
        image_id: the photo's digest in the image store.
        width: of the upright photo, in pixels; `height` likewise.
        answered: None where it is about no object: MISSED, and NOTHING_DETECTED.
        reference_id: the reference image that was made of it; empty where none was.
    """

    feedback_id: str
    caller: str
    given_at: datetime
    release_id: str
    image_id: str
    width: int
    height: int
    verdict: Verdict
    answered: AnsweredObject | None
    condition: Condition
    reference_id: str = ""

    @property
    def class_name(self) -> str:
        return self.answered.class_name if self.answered else ""

    @property
    def true_item(self) -> str:
        """What the object is, empty where that is not known."""
        return self.verdict.item_id if self.verdict.kind in (Kind.RIGHT, Kind.ITEM, Kind.MISSED) else ""

    @property
    def true_box(self) -> Box | None:
        """Where the object is, as far as is known; None of a whole photo."""
        if self.verdict.box is not None:
            return self.verdict.box
        if self.answered is None or self.answered.source is Source.WHOLE_IMAGE:
            return None
        return self.answered.box

    @property
    def place(self) -> list[float] | None:
        """The box of the object that it is about, in whole pixels: of one photo and place, it is of one object."""
        return _corners(self.answered.box if self.answered else self.verdict.box, whole=True)

    def takes_back(self, other: "Feedback") -> bool:
        """Whether it says later, of the same photo's same object, that it is not the item which the other names."""
        if (self.image_id, self.place) != (other.image_id, other.place) or self.given_at <= other.given_at:
            return False
        if self.verdict.kind is Kind.WRONG:
            return self.verdict.item_id == other.true_item
        return self.true_item not in ("", other.true_item)

    @property
    def success(self) -> bool | None:
        """Whether the first hit was right; None where the verdict does not tell."""
        first = self.answered.hits[0].item_id if self.answered and self.answered.hits else None
        match self.verdict.kind:
            case Kind.RIGHT | Kind.ITEM:
                return self.verdict.item_id == first
            case Kind.WRONG:
                return False if self.verdict.item_id == first else None
            case Kind.BOX | Kind.MISSED:
                return False
            case _:
                return None

    @property
    def content(self) -> str:
        """A digest of what is said of which answer and by whom: two of the same are the same feedback.

        The object's box counts in whole pixels and its similarities not at all: the same search may differ by a
        rounding error the next time.
        """
        object_box = _corners(self.answered.box, whole=True) if self.answered else None
        said = [self.verdict.kind.value, self.verdict.item_id, _corners(self.verdict.box)]
        content = [self.caller, self.release_id, self.image_id, object_box, *said]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def made_id(content: str) -> str:
    """That of feedback whose caller names none."""
    return content[:40]


def _corners(box: Box | None, whole: bool = False) -> list[float] | None:
    if box is None:
        return None
    corners = [box.x1, box.y1, box.x2, box.y2]
    return [round(each) for each in corners] if whole else corners


@dataclass(frozen=True, slots=True)
class Choice:
    """Which feedback is meant: what meets all that is set."""

    kinds: Collection[Kind] = ()
    release_id: str = ""
    caller: str = ""
    image_id: str = ""
    feedback_ids: Sequence[str] | None = None


EVERYTHING = Choice()


@dataclass(frozen=True, slots=True)
class FeedbackPage:
    feedback: tuple[Feedback, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class Tally:
    """How much feedback there is that is alike."""

    release_id: str
    class_name: str
    kind: Kind
    success: bool | None
    dark: bool
    blurred: bool
    small: bool
    count: int


@dataclass(slots=True)
class Group:
    """A row of a report. `judged` are the verdicts that tell whether an answer was right, `right` those where it was;
    `kinds` has suspicions, too."""

    by: str
    name: str
    meaning: str = ""
    verdicts: int = 0
    judged: int = 0
    right: int = 0
    kinds: dict[Kind, int] = field(default_factory=dict)

    def add(self, tally: Tally) -> None:
        self.kinds[tally.kind] = self.kinds.get(tally.kind, 0) + tally.count
        if tally.kind in VERDICTS:
            self.verdicts += tally.count
        if tally.success is not None:
            self.judged += tally.count
            self.right += tally.count * tally.success
