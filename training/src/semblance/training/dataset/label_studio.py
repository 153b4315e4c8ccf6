"""Label Studio's JSON export: a list of tasks, each with its data and its annotations.

Read with models of its own. The converter of label-studio-sdk was considered: it brings some forty packages (nltk,
faker, black among them), pins a build of OpenCV of its own, and passes over malformed exports in silence.

Of several annotations of a task one counts: one that is marked as ground truth, else the one updated last; cancelled
(skipped) ones never do. Format: https://labelstud.io/guide/export#Label-Studio-JSON-format-of-annotated-tasks
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, FiniteFloat, PositiveInt, field_validator

from semblance.training.dataset.photo import SUFFIXES
from semblance.training.dataset.source import (
    Export,
    Record,
    Rectangle,
    SourceError,
    SourceImage,
    SourceObject,
    malformed,
    parse,
    spelled,
)

ITEM = "item"
"""Name of the per-region control, whose text or choice is the item's id."""

ITEM_KEY = "item_id"
"""Key of a task's data that says which item all of its regions are."""

IMAGE_KEY = "image"

LABEL_TYPES = frozenset({"rectanglelabels", "labels"})
REGION_TYPES = frozenset({"rectangle", *LABEL_TYPES})
"""Results that say where something is; `labels` stands beside a `rectangle` of the same id."""

OTHER_REGIONS = frozenset(
    f"{shape}{suffix}"
    for shape in ("polygon", "ellipse", "keypoint", "brush", "bitmask", "vector", "magicwand")
    for suffix in ("", "labels")
)

Strings = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
Texts = Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]
"""A text, or several: Label Studio writes a single one either way."""


class Place(Record):
    """`value` of a rectangle: percent of the upright image, degrees clockwise about (x, y)."""

    x: FiniteFloat
    y: FiniteFloat
    width: Annotated[FiniteFloat, Field(ge=0)]
    height: Annotated[FiniteFloat, Field(ge=0)]
    rotation: FiniteFloat = 0.0


class Labels(Record):
    """`value` of a result that names classes; a region drawn without a label has none."""

    rectanglelabels: Strings | None = None
    labels: Strings | None = None


class Answer(Record):
    """`value` of a text or a choice."""

    text: Texts | None = None
    choices: Texts | None = None


class Meta(Record):
    """What the annotator noted about a region."""

    text: Texts | None = None


class Result(Record):
    """One result of an annotation: a region, a label or an answer."""

    type: str
    id: str | None = None
    from_name: str | None = None
    to_name: str | None = None
    value: dict[str, Any] = Field(default_factory=dict)
    meta: Meta | None = None
    original_width: PositiveInt | None = None
    original_height: PositiveInt | None = None
    image_rotation: int | None = None


class Annotation(Record):
    """One annotator's view of a task."""

    result: list[Result]
    was_cancelled: bool = False
    ground_truth: bool = False
    updated_at: Annotated[datetime, Field(strict=False)] = datetime.min.replace(tzinfo=UTC)

    @field_validator("updated_at")
    @classmethod
    def _in_utc(cls, value: datetime) -> datetime:
        return value if value.tzinfo else value.replace(tzinfo=UTC)


class Task(Record):
    """One photo and all that was said about it."""

    id: int
    data: dict[str, Any]
    annotations: list[Annotation]


def read(tasks: Sequence[Any], root: Path, digest: str) -> Export:
    """What an export says.

    Raises:
        SourceError: It is malformed; the text names task and field.
    """
    if tasks and all(isinstance(task, dict) and "data" not in task and "id" in task for task in tasks):
        raise SourceError("this is Label Studio's JSON-MIN, which leaves out who said what; export it as JSON")
    images: list[SourceImage] = []
    remarks: Counter[str] = Counter()
    seen: dict[int, int] = {}
    for number, raw in enumerate(tasks):
        task = parse(Task, raw, _where(raw, number))
        if task.id in seen:
            raise malformed(f"task {task.id}", ["id"], f"entries {seen[task.id]} and {number} of the list both have it")
        seen[task.id] = number
        if image := _image(task, remarks):
            images.append(image)
    return Export("label-studio", root, digest, tuple(images), remarks=remarks)


def _where(raw: Any, number: int) -> str:
    if isinstance(raw, dict) and isinstance(raw.get("id"), int):
        return f"task {raw['id']}"
    return f"entry {number} of the list of tasks"


def _image(task: Task, remarks: Counter[str]) -> SourceImage | None:
    """What a task says about its photo; None where nobody annotated it."""
    valid = [index for index, annotation in enumerate(task.annotations) if not annotation.was_cancelled]
    if not valid:
        skipped = "tasks that were skipped (cancelled)" if task.annotations else "tasks that nobody has annotated"
        remarks[f"{skipped}: left out"] += 1
        return None
    if len(valid) > 1:
        remarks["tasks with several annotations: the ground truth counts, else the one updated last"] += 1

    def weight(index: int) -> tuple[bool, datetime, int]:
        annotation = task.annotations[index]
        return annotation.ground_truth, annotation.updated_at, index

    chosen = max(valid, key=weight)
    return _Reading(task, chosen, remarks).image()


class _Reading:
    """One annotation of a task, being read."""

    def __init__(self, task: Task, chosen: int, remarks: Counter[str]) -> None:
        self.task = task
        self.where = f"task {task.id}"
        self.path: tuple[str | int, ...] = ("annotations", chosen, "result")
        self.results = task.annotations[chosen].result
        self.remarks = remarks
        self.faults: list[str] = []

    def image(self) -> SourceImage:
        reference = self._reference()
        items = self._items()
        regions: dict[str, list[int]] = {}
        for index, result in enumerate(self.results):
            if result.type in REGION_TYPES:
                # A region's id joins its results; one without an id stands alone.
                regions.setdefault(result.id or f"#{index}", []).append(index)
            elif result.type in OTHER_REGIONS:
                self._fault(index, f"{result.type!r} is no rectangle, and only rectangles are read")
        objects = [found for key, indices in regions.items() for found in self._objects(indices, items.get(key))]
        if not regions and not self.faults:
            self.remarks["photos annotated as showing nothing: kept, as background"] += 1
        return SourceImage(self.where, reference, tuple(objects), size=self._size(), faults=tuple(self.faults))

    def _fault(self, index: int, problem: str) -> None:
        self.faults.append(f"{spelled([*self.path, index])}: {problem}")

    def _reference(self) -> str:
        """Of `data.image`, of the key that results are about, or the only value that names an image."""
        data = self.task.data
        names = {result.to_name for result in self.results if result.type in REGION_TYPES and result.to_name}
        if len(names) > 1:
            problem = f"regions of several images ({', '.join(sorted(names))}) in one task; make a task of each image"
            raise malformed(self.where, self.path, problem)
        for key in (IMAGE_KEY, *names):
            if key in data:
                if not isinstance(data[key], str) or not data[key]:
                    raise malformed(
                        self.where, ["data", key], f"expected an image's path or address, not {data[key]!r}"
                    )
                return str(data[key])
        named = [value for value in data.values() if isinstance(value, str) and _names_image(value)]
        if len(named) != 1:
            problem = f"expected the image's path or address under {IMAGE_KEY!r}; there are {sorted(data) or 'no keys'}"
            raise malformed(self.where, ["data"], problem)
        return named[0]

    def _items(self) -> dict[str, str]:
        """Item ids by region."""
        items: dict[str, str] = {}
        for index, result in enumerate(self.results):
            if result.from_name == ITEM and result.type in ("textarea", "choices") and result.id:
                answer = parse(Answer, result.value, self.where, [*self.path, index, "value"])
                given = answer.text if result.type == "textarea" else answer.choices
                if given is not None:
                    items[result.id] = self._one(given, [*self.path, index, "value"])
        for index, result in enumerate(self.results):
            if result.type in REGION_TYPES and result.id and result.meta and result.meta.text:
                items.setdefault(result.id, self._one(result.meta.text, [*self.path, index, "meta", "text"]))
        return items

    def _one(self, given: Sequence[str], path: Sequence[str | int]) -> str:
        """The one item id of an answer."""
        texts = [text.strip() for text in given]
        if len(texts) != 1 or not texts[0]:
            raise malformed(self.where, path, f"expected the id of one item, not {list(given)!r}")
        return texts[0]

    def _task_item(self) -> str | None:
        item = self.task.data.get(ITEM_KEY)
        if item is None or item == "":
            return None
        if isinstance(item, bool) or not isinstance(item, str | int):
            raise malformed(
                self.where, ["data", ITEM_KEY], f"expected an item's id, a text or a whole number, not {item!r}"
            )
        return str(item)

    def _objects(self, indices: list[int], item_id: str | None) -> list[SourceObject]:
        """One object for each label of a region."""
        names: dict[str, int] = {}
        for index in indices:
            labels = parse(Labels, self.results[index].value, self.where, [*self.path, index, "value"])
            for name in [*(labels.rectanglelabels or ()), *(labels.labels or ())]:
                names.setdefault(name, index)
        first = indices[0]
        place = parse(Place, self.results[first].value, self.where, [*self.path, first, "value"])
        if self.results[first].image_rotation:
            self._fault(first, "the image was turned in the editor; turn it back there, or turn the file")
        if not names:
            self._fault(first, "this region has no label")
        if len(names) > 1:
            self.remarks["regions with several labels: an object for each"] += 1
        shape = Rectangle(place.x / 100, place.y / 100, place.width / 100, place.height / 100, place.rotation)
        item_id = item_id or self._task_item()
        return [SourceObject(spelled([*self.path, index]), name, shape, item_id) for name, index in names.items()]

    def _size(self) -> tuple[int, int] | None:
        for result in self.results:
            if result.type in REGION_TYPES and result.original_width and result.original_height:
                return result.original_width, result.original_height
        return None


def _names_image(text: str) -> bool:
    path = PurePosixPath(text.partition("?d=")[2] or text.partition("?")[0])
    return path.suffix.lower() in SUFFIXES
