"""YOLO's text files: one a photo, one line an object, in shares of the upright photo.

Two layouts are read: that of Label Studio's YOLO export (classes.txt, notes.json, images/, labels/) and that of
Ultralytics (data.yaml, which names the photos' folders; labels lie where `images` is replaced by `labels`). A line is a
class number and a box (middle, width, height), or the points of an outline; four points may be a turned rectangle.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field

from semblance.training.dataset.dataset import SPLITS, Split
from semblance.training.dataset.photo import SUFFIXES
from semblance.training.dataset.source import (
    Export,
    Outline,
    Record,
    Rectangle,
    SourceError,
    SourceImage,
    SourceObject,
    parse,
)

CLASSES, NOTES = "classes.txt", "notes.json"
DATA_FILES = ("data.yaml", "data.yml", "dataset.yaml")
IMAGES, LABELS = "images", "labels"


class Category(Record):
    """Of notes.json."""

    id: int
    name: str


class Notes(Record):
    """notes.json: the classes again, with their numbers."""

    categories: list[Category]


Name = Annotated[str, Field(min_length=1)]
Names = Annotated[
    dict[int, Name], BeforeValidator(lambda value: dict(enumerate(value)) if isinstance(value, list) else value)
]
Folders = Annotated[
    tuple[str, ...],
    Field(strict=False),
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else () if value is None else value),
]


class Data(Record):
    """data.yaml."""

    names: Names
    path: str | None = None
    train: Folders = ()
    val: Folders = ()
    test: Folders = ()


@dataclass(frozen=True, slots=True)
class _Pair:
    """A photo's name or path, and its label file, where it has one."""

    reference: str
    labels: Path | None
    split: Split | None


def is_here(folder: Path) -> bool:
    """Whether a folder is one of the two layouts."""
    return _data_file(folder) is not None or ((folder / CLASSES).is_file() and (folder / LABELS).is_dir())


def _data_file(folder: Path) -> Path | None:
    return next((folder / name for name in DATA_FILES if (folder / name).is_file()), None)


def read(folder: Path) -> Export:
    """What a folder says.

    Raises:
        SourceError: It is malformed; the text names file and line.
    """
    data_file = _data_file(folder)
    if data_file is not None:
        data = _data(data_file)
        classes = _names(data, data_file)
        pairs = list(_by_data(folder, data, data_file))
    else:
        classes = _classes(folder)
        pairs = list(_by_folders(folder))
    if not pairs:
        raise SourceError(f"{folder} has neither photos nor label files")
    digest = hashlib.sha256("\n".join(classes).encode())
    remarks: Counter[str] = Counter()
    images: list[SourceImage] = []
    for pair in pairs:
        text = _text(pair.labels) if pair.labels else ""
        digest.update(f"\0{pair.split}\0{pair.reference}\0{text}".encode())
        where = str(pair.labels.relative_to(folder)) if pair.labels else pair.reference
        objects = tuple(_objects(text, where, classes))
        if not objects:
            remarks["photos without a label: kept, as background"] += 1
        images.append(SourceImage(where, pair.reference, objects, pair.split))
    return Export("yolo", folder, digest.hexdigest(), tuple(images), classes, remarks)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} can't be read as text: {error}") from error


def _classes(folder: Path) -> tuple[str, ...]:
    lines = _text(folder / CLASSES).rstrip().splitlines()
    classes = tuple(line.strip() for line in lines)
    if not classes or not all(classes):
        raise SourceError(f"{CLASSES}: expected the name of a class on each line, and found an empty one")
    _refuse_double(classes, CLASSES)
    if (folder / NOTES).is_file():
        try:
            content = json.loads(_text(folder / NOTES))
        except json.JSONDecodeError as error:
            raise SourceError(f"{NOTES} is no JSON (line {error.lineno}: {error.msg})") from error
        noted = {category.id: category.name for category in parse(Notes, content, NOTES).categories}
        if noted != dict(enumerate(classes)):
            raise SourceError(
                f"{NOTES}, categories: {noted} are not the classes of {CLASSES}, {dict(enumerate(classes))}"
            )
    return classes


def _refuse_double(classes: tuple[str, ...], where: str) -> None:
    if double := [name for name, times in Counter(classes).items() if times > 1]:
        raise SourceError(f"{where}: {double[0]!r} is there twice")


def _data(path: Path) -> Data:
    try:
        content: Any = yaml.safe_load(_text(path))
    except yaml.YAMLError as error:
        raise SourceError(f"{path.name} is no YAML: {error}") from error
    return parse(Data, content, path.name)


def _names(data: Data, path: Path) -> tuple[str, ...]:
    numbers = sorted(data.names)
    if not numbers or numbers != list(range(len(numbers))):
        raise SourceError(f"{path.name}, names: expected classes with the numbers 0, 1, 2, …, not {numbers}")
    names = tuple(data.names[number] for number in numbers)
    _refuse_double(names, f"{path.name}, names")
    return names


def _by_data(folder: Path, data: Data, data_file: Path) -> Iterator[_Pair]:
    """Photos of the folders and lists that data.yaml names."""
    base = folder / data.path if data.path else folder
    if not base.is_dir():
        # Ultralytics' `path` is often that of the computer that the dataset was made on.
        base = folder
    named: dict[Split, Folders] = {"train": data.train, "val": data.val, "test": data.test}
    for split in SPLITS:
        for place in named[split]:
            path = base / place
            if not path.exists() and place.startswith("../"):
                # As Ultralytics does: exports of Roboflow begin so.
                path = base / place.removeprefix("../")
            if not path.exists():
                raise SourceError(f"{data_file.name}, {split}: {place} is not there")
            for photo in _photos(path, base):
                labels = _labels_of(photo)
                yield _Pair(str(photo), labels if labels.is_file() else None, split)


def _photos(path: Path, base: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        return
    for line in _text(path).splitlines():
        if line.strip():
            yield base / line.strip()


def _labels_of(photo: Path) -> Path:
    """`images/train/a.jpg` has `labels/train/a.txt`; without such a folder, the text lies beside the photo."""
    parts = list(photo.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == IMAGES:
            parts[index] = LABELS
            break
    return Path(*parts).with_suffix(".txt")


def _by_folders(folder: Path) -> Iterator[_Pair]:
    """Photos of images/ and label files of labels/, which belong together where their names do; either may be split."""
    labels = {path.relative_to(folder / LABELS).with_suffix(""): path for path in (folder / LABELS).rglob("*.txt")}
    labels = {stem: path for stem, path in labels.items() if path.name != CLASSES}
    photos: dict[Path, Path] = {}
    for path in sorted((folder / IMAGES).rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            stem = path.relative_to(folder / IMAGES).with_suffix("")
            if stem in photos:
                raise SourceError(
                    f"{path.relative_to(folder)} and {photos[stem].relative_to(folder)} have one label file"
                )
            photos[stem] = path
    for stem in sorted({*labels, *photos}):
        split = next((split for split in SPLITS if split == stem.parts[0]), None) if len(stem.parts) > 1 else None
        # Without images/, as Label Studio exports it, the stem may be that of a photo below one of the user's folders.
        yield _Pair(str(photos.get(stem, stem)), labels.get(stem), split)


def _objects(text: str, where: str, classes: tuple[str, ...]) -> Iterator[SourceObject]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield _object(line.split(), f"line {number}", where, classes)


def _object(words: list[str], line: str, where: str, classes: tuple[str, ...]) -> SourceObject:
    try:
        number, numbers = int(words[0]), [float(word) for word in words[1:]]
    except ValueError:
        raise SourceError(
            f"{where}, {line}: expected a class number and numbers, not {' '.join(words)[:60]!r}"
        ) from None
    if not 0 <= number < len(classes):
        raise SourceError(
            f"{where}, {line}: class {number}, but there are {len(classes)} classes, 0 to {len(classes) - 1}"
        )
    if not all(map(math.isfinite, numbers)):
        raise SourceError(f"{where}, {line}: {' '.join(words)[:60]!r} has a number that is not finite")
    if len(numbers) == 4:
        x, y, width, height = numbers
        if width < 0 or height < 0:
            raise SourceError(f"{where}, {line}: width and height are {width} and {height}; neither may be negative")
        return SourceObject(line, classes[number], Rectangle(x - width / 2, y - height / 2, width, height))
    if len(numbers) >= 6 and len(numbers) % 2 == 0:
        return SourceObject(line, classes[number], Outline(tuple(zip(numbers[::2], numbers[1::2], strict=True))))
    raise SourceError(
        f"{where}, {line}: a class and {len(numbers)} numbers; expected 4 (middle, width, height) or the x and y of "
        "three points or more"
    )
