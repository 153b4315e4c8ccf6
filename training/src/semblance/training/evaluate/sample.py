"""What was asked and what was found, one record a photo: all figures are computed from these, and can be again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from semblance.training.dataset.dataset import Box

# `alias` would name the constructor's argument, and Python has no argument called `class`.
_CLASS = AliasChoices("class", "class_name")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Detection(_Record):
    """One box of the detector's, whatever its score."""

    class_name: str = Field(validation_alias=_CLASS, serialization_alias="class")
    score: float
    box: Box


class Answer(_Record):
    """What a search with one box found."""

    rank: Annotated[int, Field(ge=1)] | None
    """The right item's place among the hits, 1 for the first; None where it is not among those asked for."""
    first: str | None
    """The item at the first place."""
    image_id: str | None
    """The reference image of `first` that was most similar."""
    similarity: float | None
    """Of `first`."""


class ObjectSample(_Record):
    """One annotated object. Without an item id it counts for detection alone, and has no answers."""

    class_name: str = Field(validation_alias=_CLASS, serialization_alias="class")
    box: Box
    item_id: str | None
    found: Answer | None
    """By the served detection that stands for it; None where there is none."""
    given: Answer | None
    """By its true box."""


class PhotoSample(_Record):
    """One photo."""

    file: str
    sha256: str
    objects: tuple[ObjectSample, ...]
    detections: tuple[Detection, ...]
    """Best first."""


def queries(photos: Sequence[PhotoSample]) -> list[tuple[int, ObjectSample]]:
    """The objects whose item is known, with the number of their photo, in order."""
    return [(number, each) for number, photo in enumerate(photos) for each in photo.objects if each.item_id is not None]
