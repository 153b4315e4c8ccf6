"""Answers to searches, made by hand."""

from collections.abc import Sequence

import numpy as np

from semblance.orchestrator.box import Box
from semblance.orchestrator.detect import Detection
from semblance.orchestrator.pipeline import Answer, Description, Region, Stopwatch
from semblance.orchestrator.ports import Neighbour

BOX = Box(0, 0, 10, 10)


def hits(*items: tuple[str, float]) -> tuple[Neighbour, ...]:
    """Items and their similarities."""
    return tuple(Neighbour(item_id, "image", BOX, similarity, {}) for item_id, similarity in items)


def answer(*objects: tuple[Box, Sequence[Neighbour]], release_id: str = "r1", detected: bool = True) -> Answer:
    """Of each object its box, and what was found."""
    regions = tuple(Region(box, Detection(box, 0.9, "thing") if detected else None) for box, _ in objects)
    vectors = np.zeros((len(regions), 4), np.float32)
    description = Description(100, 100, regions, vectors, nothing_detected=not detected)
    return Answer(release_id, description, [tuple(found) for _, found in objects], Stopwatch())
