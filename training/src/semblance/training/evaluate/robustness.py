"""What is left of recall where photos are blurred, dark, noisy, turned and so on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageOps

from semblance.training.dataset.dataset import AnnotatedImage, AnnotatedObject, Dataset
from semblance.training.evaluate.corruption import CORRUPTIONS, SEVERITIES, Pixels
from semblance.training.evaluate.errors import EvaluationError
from semblance.training.evaluate.interval import Bootstrap, Estimate, Statistic
from semblance.training.evaluate.retrieval import Ranks
from semblance.training.evaluate.sample import Answer, PhotoSample, queries
from semblance.training.evaluate.service import Service, found_answers


@dataclass(frozen=True)
class Robustness:
    """recall@1 end to end of some of the photos. `by_severity`: by corruption, at `SEVERITIES`; `drops`: what each
    loses against the photos as they are, the same photos paired."""

    photos: int
    objects: int
    clean: Estimate
    by_severity: Mapping[str, tuple[Estimate, ...]]
    drops: Mapping[str, tuple[Estimate, ...]]


def measured(
    service: Service,
    dataset: Dataset,
    images: Sequence[AnnotatedImage],
    photos: Sequence[PhotoSample],
    count: int,
    seed: int,
) -> Robustness:
    """Searches `count` of the photos, drawn by the seed, each as every corruption leaves it. `photos` are their
    samples as they are.

    Raises:
        EvaluationError: Fewer than two photos show a known item.
    """
    askable = [number for number, image in enumerate(images) if any(each.item_id for each in image.objects)]
    drawn = np.random.default_rng([seed, 1]).permutation(askable)[:count]
    chosen = sorted(int(number) for number in drawn)
    if len(chosen) < 2:
        raise EvaluationError(
            "robustness is measured on two photos at least, and there are no more than "
            f"{len(askable)} with item ids; give --robustness-images 0 to do without"
        )
    some = [images[number] for number in chosen]
    clean = Ranks.of(len(chosen), [(n, each.found) for n, each in queries([photos[number] for number in chosen])])
    bootstrap = Bootstrap(len(chosen), seed)
    by_severity, drops = {}, {}
    for index, name in enumerate(CORRUPTIONS):
        ranks = _ranks(service, dataset, some, name, [seed, index])
        by_severity[name] = tuple(bootstrap.estimates(_first(each))[0] for each in ranks)
        drops[name] = tuple(bootstrap.estimates(_lost(clean, each))[0] for each in ranks)
    [whole] = bootstrap.estimates(_first(clean))
    return Robustness(len(chosen), len(clean.rank), whole, by_severity, drops)


def _first(ranks: Ranks) -> Statistic:
    """recall@1."""
    return lambda weights: ranks.figures(weights)[:, :1]


def _lost(clean: Ranks, corrupted: Ranks) -> Statistic:
    """Of recall@1."""
    return lambda weights: clean.figures(weights)[:, :1] - corrupted.figures(weights)[:, :1]


def _ranks(
    service: Service, dataset: Dataset, images: Sequence[AnnotatedImage], name: str, seed: Sequence[int]
) -> list[Ranks]:
    """At each severity."""
    pairs = [
        _corrupted(upright(dataset, image), image.objects, name, severity, [*seed, severity, number])
        for severity in SEVERITIES
        for number, image in enumerate(images)
    ]
    results = service.detect([photo for photo, _ in pairs], None, f"searching with {name}")
    answers: list[tuple[int, Answer | None]] = [
        (number, answer)
        for number, ((_, objects), hits) in enumerate(zip(pairs, results, strict=True))
        for each, answer in zip(objects, found_answers(objects, hits), strict=True)
        if each.item_id is not None
    ]
    return [
        Ranks.of(
            len(images),
            [(number % len(images), each) for number, each in answers if number // len(images) == place],
        )
        for place in range(len(SEVERITIES))
    ]


def upright(dataset: Dataset, image: AnnotatedImage) -> Pixels:
    """The photo as its boxes are meant: uint8 [H,W,3], RGB, EXIF's orientation applied."""
    with Image.open(dataset.path(image)) as opened:
        return np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))


def _corrupted(
    pixels: Pixels, objects: Sequence[AnnotatedObject], name: str, severity: int, seed: Sequence[int]
) -> tuple[bytes, list[AnnotatedObject]]:
    """The photo as PNG, which adds nothing to what the corruption did, and its objects where they are then."""
    boxes = np.array([each.box for each in objects], np.float64).reshape(-1, 4)
    changed, moved = CORRUPTIONS[name](pixels, boxes, severity, np.random.default_rng(seed))
    _, packed = cv2.imencode(".png", changed[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return packed.tobytes(), [
        each.model_copy(update={"box": tuple(box.tolist())}) for each, box in zip(objects, moved, strict=True)
    ]
