"""Feedback as a folder to learn from: tasks for Label Studio, queries for an evaluation, and pairs for a training.

tasks.json     one task a photo with a failure or a suspicious answer, what is known of it as pre-annotations
queries.jsonl  what an object is: a search with its photo and box is to find that item
pairs.jsonl    the same with the items that it was taken for, and is not
images/        the photos, by the SHA-256 of their bytes
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from semblance.client._feedback_types import ExportedFeedback, Feedback, FeedbackKind
from semblance.client._types import Box

TASKS, QUERIES, PAIRS, IMAGES = "tasks.json", "queries.jsonl", "pairs.jsonl", "images"

MAX_NEGATIVES = 10
"""Of a pair, those ranked first."""

_SUFFIXES = ((b"\xff\xd8", ".jpg"), (b"\x89PNG", ".png"), (b"RIFF", ".webp"))

_FAILURES = frozenset(FeedbackKind) - {FeedbackKind.RIGHT, FeedbackKind.ITEM}
"""What asks for somebody's look whatever the first hit was."""


class NotEmpty(Exception):
    """The folder holds something that an export would be mixed with."""


@dataclass(slots=True)
class Written:
    """How much an export has."""

    photos: int = 0
    tasks: int = 0
    queries: int = 0
    pairs: int = 0


@dataclass(slots=True)
class Thing:
    """What is known of one object of a photo, from all feedback about it.

    Attributes:
        newest: the feedback that was given last, of those that tell what the object is; or of all.
        item_id: what the object is; empty where nobody said so, or somebody said later that it is not.
        box: None of a whole photo.
        negatives: what it was taken for, and is not, in the order of their ranks.
    """

    about: list[Feedback] = field(default_factory=list)

    @property
    def newest(self) -> Feedback:
        return max(self.about, key=lambda each: (bool(each.true_item), each.given_at, each.feedback_id))

    @property
    def item_id(self) -> str:
        item, told = self.newest.true_item, self.newest.given_at
        taken_back = any(
            each.verdict.kind is FeedbackKind.WRONG and each.verdict.item_id == item and each.given_at > told
            for each in self.about
        )
        return "" if taken_back else item

    @property
    def box(self) -> Box | None:
        corrected = [each for each in self.about if each.verdict.box is not None]
        if corrected:
            return max(corrected, key=lambda each: each.given_at).verdict.box
        return self.newest.true_box

    @property
    def class_name(self) -> str | None:
        return next((each.answered.class_name for each in self.about if each.answered), None)

    @property
    def score(self) -> float | None:
        return next((each.answered.score for each in self.about if each.answered), None)

    @property
    def negatives(self) -> list[str]:
        """Hits before the right one, and those that somebody called wrong."""
        found: dict[str, None] = {}
        answered = self.newest.answered
        for hit in answered.hits if answered else ():
            if hit.item_id == self.item_id:
                break
            found[hit.item_id] = None
        wrong = [each.verdict.item_id for each in self.about if each.verdict.kind is FeedbackKind.WRONG]
        found.update(dict.fromkeys(wrong))
        found.pop(self.item_id, None)
        return list(found)[:MAX_NEGATIVES]


def write_folder(folder: Path, exported: Iterable[ExportedFeedback]) -> Written:
    """Writes all of it or nothing: aside, and then under its name.

    Raises:
        NotEmpty: there is something in the folder; nothing was written.
        OSError: the folder, or what is in it, can't be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise NotEmpty(f"{folder} is there and not empty; name a folder that is not, or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        (aside / IMAGES).mkdir()
        written = _write(aside, exported)
        # `mkdtemp` lets nobody else in.
        aside.chmod(0o777 & ~_umask())
        os.rename(aside, folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return written


def _write(folder: Path, exported: Iterable[ExportedFeedback]) -> Written:
    written = Written()
    with (
        open(folder / TASKS, "w", encoding="utf-8") as tasks,
        open(folder / QUERIES, "w", encoding="utf-8") as queries,
        open(folder / PAIRS, "w", encoding="utf-8") as pairs,
    ):
        tasks.write("[")
        for photo, feedback in by_photo(exported):
            name = f"{IMAGES}/{feedback[0].image_id}{_suffix(photo)}"
            (folder / name).write_bytes(photo)
            written.photos += 1
            things = things_of(feedback)
            if any(each.success is False or each.verdict.kind in _FAILURES for each in feedback):
                tasks.write(("," if written.tasks else "") + "\n" + _json(task(name, feedback, things)))
                written.tasks += 1
            for thing in things:
                if thing.item_id:
                    written.pairs += _line(pairs, pair(name, thing))
                # What is a reference image of the catalogue finds itself: that measures nothing.
                if thing.item_id and not any(each.reference_id for each in thing.about):
                    written.queries += _line(queries, query(name, thing))
        tasks.write("\n]\n")
    return written


def by_photo(exported: Iterable[ExportedFeedback]) -> Iterator[tuple[bytes, list[Feedback]]]:
    """Each photo with all feedback about it; what lost its photo meanwhile is left out."""
    photo, feedback = b"", list[Feedback]()
    for each in exported:
        if feedback and feedback[0].image_id != each.feedback.image_id:
            if photo:
                yield photo, feedback
            photo, feedback = b"", []
        photo = photo or each.image or b""
        feedback.append(each.feedback)
    if photo:
        yield photo, feedback


def things_of(feedback: Sequence[Feedback]) -> list[Thing]:
    """The objects of a photo that feedback is about; boxes that differ by less than a pixel are of one."""
    things: dict[object, Thing] = {}
    for each in feedback:
        if each.answered is not None:
            things.setdefault(_whole(each.answered.box), Thing()).about.append(each)
        elif each.verdict.box is not None:
            things.setdefault(_whole(each.verdict.box), Thing()).about.append(each)
    return list(things.values())


def query(image: str, thing: Thing) -> dict[str, Any]:
    return {
        "image": image,
        "box": _corners(thing.box),
        "class": thing.class_name,
        "item_id": thing.item_id,
        "release": thing.newest.release,
        "feedback_id": thing.newest.feedback_id,
    }


def pair(image: str, thing: Thing) -> dict[str, Any]:
    return {
        "image": image,
        "box": _corners(thing.box),
        "class": thing.class_name,
        "positive": thing.item_id,
        "negatives": thing.negatives,
        "release": thing.newest.release,
        "feedback_id": thing.newest.feedback_id,
    }


def task(image: str, feedback: Sequence[Feedback], things: Sequence[Thing]) -> dict[str, Any]:
    """In Label Studio's format: a prediction for each release, with its regions, to begin an annotation with."""
    releases = sorted({each.release for each in feedback})
    of_release = {
        release: [thing for thing in things if thing.box is not None and thing.newest.release == release]
        for release in releases
    }
    data = {
        "image": image,
        "feedback": [{"id": each.feedback_id, "kind": each.verdict.kind, "release": each.release} for each in feedback],
    }
    predictions = [_prediction(release, of_release[release]) for release in releases if of_release[release]]
    return {"data": data, "predictions": predictions}


def _prediction(release: str, things: Sequence[Thing]) -> dict[str, Any]:
    scores = [thing.score for thing in things if thing.score is not None]
    return {
        "model_version": release,
        "score": sum(scores) / len(scores) if scores else 0.0,
        "result": [result for thing in things for result in _results(thing)],
    }


def _results(thing: Thing) -> Iterator[dict[str, Any]]:
    """The rectangle and, where it is known, its item. A rectangle without a class is left to the annotator."""
    feedback, box = thing.newest, thing.box
    assert box is not None
    across, down = 100 / feedback.image_width, 100 / feedback.image_height
    region = {
        # Callers' own ids may begin alike, and regions of one id are one to Label Studio.
        "id": hashlib.sha256(feedback.feedback_id.encode()).hexdigest()[:10],
        "to_name": "image",
        "original_width": feedback.image_width,
        "original_height": feedback.image_height,
        "image_rotation": 0,
    }
    rectangle = {
        "x": box.x1 * across,
        "y": box.y1 * down,
        "width": (box.x2 - box.x1) * across,
        "height": (box.y2 - box.y1) * down,
        "rotation": 0,
    }
    labels = [thing.class_name] if thing.class_name else []
    score = {} if thing.score is None else {"score": thing.score}
    value = {**rectangle, "rectanglelabels": labels}
    yield {**region, **score, "from_name": "label", "type": "rectanglelabels", "value": value}
    if thing.item_id:
        value = {**rectangle, "text": [thing.item_id]}
        yield {**region, "from_name": "item", "type": "textarea", "value": value}


def _corners(box: Box | None) -> list[float] | None:
    return [box.x1, box.y1, box.x2, box.y2] if box else None


def _whole(box: Box) -> tuple[int, ...]:
    return round(box.x1), round(box.y1), round(box.x2), round(box.y2)


def _suffix(photo: bytes) -> str:
    return next((suffix for beginning, suffix in _SUFFIXES if photo.startswith(beginning)), ".jpg")


def _line(file: TextIO, value: dict[str, Any]) -> int:
    file.write(_json(value) + "\n")
    return 1


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _umask() -> int:
    """It can be read only by being set."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
