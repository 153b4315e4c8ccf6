"""Items that are taken for each other: in the vectors of their references, and in the answers of a running service."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from semblance.client import Box, Client, SearchRequest, SemblanceError
from semblance.export.session import Progress
from semblance.training.atomic import write
from semblance.training.train.batches import Confusions
from semblance.training.train.crops import Crop, by_photo
from semblance.training.train.material import Material, Sources
from semblance.training.train.run import Run

DEPTH = 6
"""Hits looked at, and rivals kept, of each crop."""

IN_FLIGHT = 4

MOST_BOXES = 100
"""A search takes no more."""

MINED = "mined.json"
"""For each item, the wrong ones that the index found for it."""


def known(
    run: Run, sources: Sources, material: Material, connect: Callable[[], Client] | None, progress: Progress
) -> dict[str, list[str]]:
    """Items that people, and where `connect` is given the index, say are taken for each other.

    The index is asked once for a run: what it answers is kept in the run's folder.

    Raises:
        SemblanceError: the service does not answer.
    """
    if connect is None:
        return merged(material.negatives)
    path = run.folder / MINED
    if not path.exists():
        crops = (*sources.annotated, *(pair.crop for pair in sources.pairs))
        with connect() as client:
            write(path, json.dumps(mined(client, crops or sources.references, progress), indent=1) + "\n")
    return merged(material.negatives, json.loads(path.read_text()))


def near(vectors: NDArray[np.float32], item_ids: Sequence[str]) -> dict[str, list[str]]:
    """For each item the others whose references are nearest to its own.

    Args:
        vectors: FP32 [N,dim], L2-normalised, of one reference each.
    """
    rivals: dict[str, list[str]] = {}
    similarities = vectors @ vectors.T
    order = np.argsort(-similarities, axis=1)
    best: dict[str, Counter[str]] = {}
    for row, item_id in enumerate(item_ids):
        known = best.setdefault(item_id, Counter())
        for column in order[row]:
            other = item_ids[column]
            if other != item_id:
                known[other] = max(known[other], similarities[row, column])
            if len(known) >= DEPTH:
                break
    for item_id, known in best.items():
        rivals[item_id] = [name for name, _ in known.most_common(DEPTH)]
    return rivals


def mined(client: Client, crops: Sequence[Crop], progress: Progress) -> dict[str, list[str]]:
    """For each item the wrong ones that the service finds for its crops: those that rank before it count double.

    Raises:
        SemblanceError: the service does not answer.
    """
    counts: dict[str, Counter[str]] = {}
    requests: dict[SearchRequest, list[Crop]] = {}
    for path, numbers in by_photo(crops).items():
        boxed = [crops[number] for number in numbers if crops[number].box is not None]
        for start in range(0, len(boxed), MOST_BOXES):
            some = boxed[start : start + MOST_BOXES]
            boxes = [Box(each.box.x1, each.box.y1, each.box.x2, each.box.y2) for each in some if each.box is not None]
            requests[SearchRequest(path, top_k=DEPTH, boxes=boxes)] = some
        if whole := [crops[number] for number in numbers if crops[number].box is None]:
            requests[SearchRequest(path, top_k=DEPTH, objects="largest")] = whole
    for done, (request, answer) in enumerate(client.search_many(list(requests), in_flight=IN_FLIGHT)):
        progress("asking the index", done, len(requests))
        if isinstance(answer, SemblanceError):
            raise answer
        asked = requests[request]
        # Of a whole photo, all its crops are answered by the largest object.
        answers = answer.objects if request.boxes else answer.objects[:1] * len(asked)
        for crop, found in zip(asked, answers, strict=True):
            names = [hit.item_id for hit in found.hits]
            rank = names.index(crop.item_id) if crop.item_id in names else len(names)
            for place, name in enumerate(names):
                if name != crop.item_id:
                    counts.setdefault(crop.item_id, Counter())[name] += 2 if place < rank else 1
    return {item_id: [name for name, _ in of_item.most_common(DEPTH)] for item_id, of_item in counts.items()}


def merged(*sources: Confusions) -> dict[str, list[str]]:
    """Of each item the rivals of the first source, then those that the next ones add."""
    names = {name for source in sources for name in source}
    return {
        name: list(dict.fromkeys(rival for source in sources for rival in source.get(name, ())))[:DEPTH]
        for name in sorted(names)
    }
