"""Photos as an evaluation records them, drawn at random."""

import numpy as np

from semblance.training.dataset.dataset import Box
from semblance.training.evaluate.sample import Answer, Detection, ObjectSample, PhotoSample

CLASSES = ("card", "badge", "figurine")


def answer(rank: int | None) -> Answer:
    return Answer(rank=rank, first="wanted" if rank == 1 else "other", image_id="0" * 64, similarity=0.8)


def photo(number: int, objects: tuple[ObjectSample, ...], detections: tuple[Detection, ...] = ()) -> PhotoSample:
    return PhotoSample(
        file=f"images/test/{number}.jpg", sha256=f"{number:064x}", objects=objects, detections=detections
    )


def wanted(
    box: Box, class_name: str = "card", found: Answer | None = None, given: Answer | None = None
) -> ObjectSample:
    return ObjectSample(class_name=class_name, box=box, item_id="wanted", found=found, given=given)


def random_box(rng: np.random.Generator) -> Box:
    x, y, width, height = rng.uniform((0, 0, 20, 20), (300, 300, 120, 120))
    return float(x), float(y), float(x + width), float(y + height)


def random_photos(seed: int, count: int) -> list[PhotoSample]:
    """Detections that hit most objects more or less well, miss some, and invent some; scores often tie."""
    rng = np.random.default_rng(seed)
    photos = []
    for number in range(count):
        objects, detections = [], []
        for _ in range(rng.integers(0, 6)):
            box, name = random_box(rng), str(rng.choice(CLASSES))
            rank = int(rng.geometric(0.7))
            objects.append(wanted(box, name, answer(rank) if rng.random() < 0.8 else None, answer(max(1, rank - 1))))
            for _ in range(rng.integers(0, 3)):
                moved = np.array(box) + rng.normal(0, 6, 4)
                label = name if rng.random() < 0.9 else str(rng.choice(CLASSES))
                detections.append((round(rng.beta(4, 2), 2), label, tuple(moved.tolist())))
        for _ in range(rng.integers(0, 3)):
            detections.append((round(rng.beta(2, 4), 2), str(rng.choice(CLASSES)), random_box(rng)))
        detections.sort(key=lambda each: -each[0])
        found = tuple(Detection(class_name=name, score=score, box=box) for score, name, box in detections)
        photos.append(photo(number, tuple(objects), found))
    return photos
