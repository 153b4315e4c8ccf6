"""What an embedder learns from: items with crops of their reference images and of annotated photos."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semblance.client.commands.entry import Problem
from semblance.client.commands.source import gather
from semblance.export.contract import CROP_SIZE
from semblance.export.session import Progress
from semblance.orchestrator.box import Box
from semblance.orchestrator.decode import Photo
from semblance.training.dataset.dataset import Dataset, Split
from semblance.training.train import crops
from semblance.training.train.crops import Crop, Patch
from semblance.training.train.errors import TrainingError
from semblance.training.train.localiser import Localiser

PAIRS = "pairs.jsonl"

MOST_ITEMS = 2000
"""Items that take part: all that photos show, and of others so many that embedding them each epoch stays cheap."""


@dataclass(frozen=True)
class Pair:
    """A verdict on an answer: the crop shows its item, and none of `negatives`."""

    crop: Crop
    negatives: tuple[str, ...]


@dataclass(frozen=True)
class Sources:
    """Where crops come from. `references` without a box are cut by the localiser, or are whole."""

    references: tuple[Crop, ...]
    annotated: tuple[Crop, ...]
    pairs: tuple[Pair, ...]
    queries: tuple[Crop, ...]
    held_out: int = 0
    """Pairs that are not learnt from: their photos are in the dataset's val or test split."""


@dataclass(frozen=True)
class Item:
    """Numbers of its patches: those of reference images, and those of photos."""

    item_id: str
    references: tuple[int, ...]
    photographed: tuple[int, ...]


@dataclass(frozen=True)
class Squares:
    """What the service would embed. pixels: UINT8 [N,224,224,3]; the item of each."""

    pixels: NDArray[np.uint8]
    item_ids: tuple[str, ...]


@dataclass(frozen=True)
class Material:
    """Everything cut out.

    negatives: for an item the others that people said it is not, most often said first.
    gallery: the reference crops, to be searched among with the queries, which were not learnt from.
    """

    items: tuple[Item, ...]
    patches: tuple[Patch, ...]
    negatives: dict[str, tuple[str, ...]]
    gallery: Squares
    queries: Squares


def collect(catalogue: Path, dataset: Dataset | None, feedback: Path | None) -> Sources:
    """Raises TrainingError: a manifest, a dataset or a feedback export is not what it should be."""
    references = tuple(_references(catalogue))
    known = {crop.item_id for crop in references}
    annotated = tuple(_annotated(dataset, "train")) if dataset else ()
    queries = tuple(crop for crop in _annotated(dataset, "val") if crop.item_id in known) if dataset else ()
    if dataset and not annotated:
        raise TrainingError(
            f"no object in the train split of {dataset.folder} has an item_id, so nothing can be learnt from it; "
            "import annotations that name items, or leave --dataset out"
        )
    if dataset and not any(crop.item_id in known for crop in annotated):
        raise TrainingError(
            f"no item of {dataset.folder}, such as {annotated[0].item_id!r}, is in {catalogue}, whose first is "
            f"{references[0].item_id!r}; the dataset's item_id must be the catalogue's"
        )
    pairs = tuple(_pairs(feedback)) if feedback else ()
    # An export names each photo by the SHA-256 of its bytes.
    judged = {image.sha256 for image in dataset.images if image.split != "train"} if dataset else set()
    learnt = tuple(pair for pair in pairs if pair.crop.path.stem not in judged)
    return Sources(references, annotated, learnt, queries, len(pairs) - len(learnt))


def cut(sources: Sources, localiser: Localiser | None, seed: int, progress: Progress) -> Material:
    """Decodes every photo once, and cuts its crops out."""
    references = _chosen(sources, seed)
    patches: list[Patch] = []
    gallery = np.empty((len(references), CROP_SIZE, CROP_SIZE, 3), np.uint8)

    def reference(number: int, photo: Photo) -> None:
        box = references[number].box or (localiser.box(photo) if localiser else None)
        gallery[number] = crops.square(photo, box)
        patches.append(crops.patch(photo, box))
        owners.append((references[number].item_id, True))

    owners: list[tuple[str, bool]] = []
    _each(references, reference, "cutting reference images", progress)
    learnt = (*sources.annotated, *(pair.crop for pair in sources.pairs))

    def photographed(number: int, photo: Photo) -> None:
        patches.append(crops.patch(photo, learnt[number].box))
        owners.append((learnt[number].item_id, False))

    _each(learnt, photographed, "cutting photos", progress)
    queries = np.empty((len(sources.queries), CROP_SIZE, CROP_SIZE, 3), np.uint8)

    def query(number: int, photo: Photo) -> None:
        queries[number] = crops.square(photo, sources.queries[number].box)

    _each(sources.queries, query, "cutting photos to validate on", progress)
    return Material(
        _items(owners),
        tuple(patches),
        _negatives(sources.pairs),
        Squares(gallery, tuple(crop.item_id for crop in references)),
        Squares(queries, tuple(crop.item_id for crop in sources.queries)),
    )


def _references(catalogue: Path) -> Iterator[Crop]:
    entries, problems = gather([str(catalogue)])
    if problems:
        raise TrainingError("\n".join(["the catalogue can't be read:", *map(_told, problems[:10])]))
    for entry in entries:
        for image in entry.images:
            yield Crop(image, entry.item_id)


def _told(problem: Problem) -> str:
    return f"  {problem.where}: {problem.reason}"


def _annotated(dataset: Dataset, split: Split) -> Iterator[Crop]:
    for image in dataset.split(split):
        for found in image.objects:
            if found.item_id is not None:
                yield Crop(dataset.path(image), found.item_id, Box(*found.box))


def _pairs(folder: Path) -> Iterator[Pair]:
    path = folder / PAIRS
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise TrainingError(
            f"{folder} is no feedback export: {path.name} can't be read ({error.strerror}); "
            "`semblance feedback export` makes one"
        ) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            told = json.loads(line)
            box = Box(*map(float, told["box"])) if told.get("box") else None
            crop = Crop(folder / told["image"], str(told["positive"]), box)
            yield Pair(crop, tuple(map(str, told["negatives"])))
        except (ValueError, KeyError, TypeError) as error:
            raise TrainingError(
                f"{path}:{number} is no pair: {type(error).__name__}: {error}; expected image, box, positive and "
                "negatives, as `semblance feedback export` writes them"
            ) from error


def _chosen(sources: Sources, seed: int) -> list[Crop]:
    """The references of the items that take part."""
    named = {crop.item_id for crop in (*sources.annotated, *sources.queries)}
    named |= {name for pair in sources.pairs for name in (pair.crop.item_id, *pair.negatives)}
    others = sorted({crop.item_id for crop in sources.references} - named)
    room = max(0, MOST_ITEMS - len(named))
    if len(others) > room:
        others = [others[number] for number in np.random.default_rng(seed).permutation(len(others))[:room]]
    taking_part = named | set(others)
    return [crop for crop in sources.references if crop.item_id in taking_part]


def _each(chosen: Sequence[Crop], take: Callable[[int, Photo], None], what: str, progress: Progress) -> None:
    done = 0
    for path, numbers in crops.by_photo(chosen).items():
        progress(what, done, len(chosen))
        photo = crops.read(path)
        for number in numbers:
            take(number, photo)
        done += len(numbers)


def _items(owners: Sequence[tuple[str, bool]]) -> tuple[Item, ...]:
    places: dict[str, tuple[list[int], list[int]]] = {}
    for number, (item_id, is_reference) in enumerate(owners):
        places.setdefault(item_id, ([], []))[0 if is_reference else 1].append(number)
    return tuple(Item(item_id, tuple(each), tuple(seen)) for item_id, (each, seen) in sorted(places.items()))


def _negatives(pairs: Sequence[Pair]) -> dict[str, tuple[str, ...]]:
    counts: dict[str, dict[str, int]] = {}
    for pair in pairs:
        for name in pair.negatives:
            of_item = counts.setdefault(pair.crop.item_id, {})
            of_item[name] = of_item.get(name, 0) + 1
    return {item: tuple(sorted(names, key=lambda name: (-names[name], name))) for item, names in counts.items()}
