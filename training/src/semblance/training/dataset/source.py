"""What a labelling tool's export says, before anybody has looked at the photos: what every reader gives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from semblance.training.dataset.dataset import DatasetError, Point, Split

Format = Literal["label-studio", "yolo", "coco"]

Corners = tuple[Point, Point, Point, Point]


class SourceError(DatasetError):
    """An export is malformed; the text names the place in it, what was expected, and what to do."""


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A rectangle in shares of the upright image's width and height, as Label Studio and YOLO have it.

    Attributes:
        rotation: degrees clockwise about the corner (x, y), measured in pixels, not in shares.
    """

    x: float
    y: float
    width: float
    height: float
    rotation: float = 0.0

    def corners(self, width: int, height: int) -> Corners:
        """From (x, y) clockwise, in pixels of an image of this size."""
        x, y, w, h = self.x * width, self.y * height, self.width * width, self.height * height
        cos, sin = math.cos(math.radians(self.rotation)), math.sin(math.radians(self.rotation))
        if self.rotation % 90 == 0:
            # Exact, so that an upright box stays one.
            cos, sin = float(round(cos)), float(round(sin))
        return (
            (x, y),
            (x + w * cos, y + w * sin),
            (x + w * cos - h * sin, y + w * sin + h * cos),
            (x - h * sin, y + h * cos),
        )

    @property
    def is_upright(self) -> bool:
        return self.rotation % 90 == 0


@dataclass(frozen=True, slots=True)
class Outline:
    """Points of an outline in shares of the upright image's width and height: a segmentation, or turned corners."""

    points: tuple[Point, ...]

    def corners(self, width: int, height: int) -> tuple[Point, ...]:
        """In pixels of an image of this size."""
        return tuple((x * width, y * height) for x, y in self.points)

    @property
    def is_upright(self) -> bool:
        """Whether nothing but its hull is of use: only four corners may be those of a turned rectangle."""
        if len(self.points) != 4:
            return True
        sides = zip(self.points, (*self.points[1:], self.points[0]), strict=True)
        return all(
            math.isclose(x1, x2, abs_tol=1e-9) or math.isclose(y1, y2, abs_tol=1e-9) for (x1, y1), (x2, y2) in sides
        )


@dataclass(frozen=True, slots=True)
class SourceObject:
    """One region and one label; `where` is its place within the image's entry."""

    where: str
    class_name: str
    shape: Rectangle | Outline
    item_id: str | None = None


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One photo as the export names it.

    Attributes:
        where: what the export calls it, such as "task 17".
        reference: a path or an address, as the export has it.
        size: width and height that the annotator saw, where the export says so.
        faults: why its annotations can't be used, though the export is well-formed.
    """

    where: str
    reference: str
    objects: tuple[SourceObject, ...]
    split: Split | None = None
    size: tuple[int, int] | None = None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Export:
    """All that an export says.

    Attributes:
        root: the folder that references are relative to.
        digest: SHA-256 of what the annotations were read from.
        classes: in the order of their numbers, where the export has one.
        remarks: what was left out or decided on the way, and how often.
    """

    format: Format
    root: Path
    digest: str
    images: tuple[SourceImage, ...]
    classes: tuple[str, ...] | None = None
    remarks: Mapping[str, int] = field(default_factory=dict)


class Record(BaseModel):
    """A part of an export: unknown fields are let be, known ones must have the right type."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


R = TypeVar("R", bound=Record)


def parse(model: type[R], value: Any, where: str, field_path: Sequence[str | int] = ()) -> R:
    """A part of an export as its type.

    Raises:
        SourceError: Naming the first field that is wrong, below `field_path`.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        first = problems[0]
        more = f" (and {len(problems) - 1} more like it)" if len(problems) > 1 else ""
        raise malformed(where, [*field_path, *first["loc"]], _sentence(first["msg"], first["input"]) + more) from error


def malformed(where: str, field_path: Sequence[str | int], problem: str) -> SourceError:
    """The error for a field: `task 17, annotations[0].result[2].value.width: …`."""
    return SourceError(f"{', '.join(filter(None, (where, spelled(field_path))))}: {problem}")


def spelled(field_path: Sequence[str | int]) -> str:
    """A field's path as one writes it: `annotations[0].result`."""
    path = ""
    for part in field_path:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _sentence(message: str, value: Any) -> str:
    if message == "Field required":
        return "is missing"
    text = repr(value)
    return f"{message[:1].lower()}{message[1:]}, not {text if len(text) <= 60 else text[:57] + '…'}"
