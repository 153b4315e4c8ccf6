"""The contact sheet: the worst failures as pictures, what was wanted beside what was found."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

from PIL import Image, ImageOps

from semblance.client import Client, Item
from semblance.training.dataset.dataset import AnnotatedImage, Box
from semblance.training.evaluate.evaluation import Evaluation
from semblance.training.evaluate.figures import cause
from semblance.training.evaluate.sample import Answer, ObjectSample, queries

FAILURES = 16

SIDE = 150
"""Pixels of a thumbnail, at the most."""

AROUND = 0.15
"""So much of its size is shown around an object."""


@dataclass(frozen=True)
class Failure:
    """One row. `wanted` and `found` are pictures as data URLs; `found` is empty where there was no hit at all."""

    photo: str
    query: str
    cause: str
    class_name: str
    item_id: str
    wanted: str
    found_id: str
    found: str
    similarity: float | None
    rank: int | None


def failures(evaluation: Evaluation, client: Client) -> list[Failure]:
    """The worst: wrong items by how sure the answer was, and undetected objects by how large they are, in turns."""
    images = evaluation.plan.images
    failed = [(images[number], query) for number, query in queries(evaluation.observed.photos) if cause(query)]
    wrong = [pair for pair in failed if pair[1].found is not None]
    missed = [pair for pair in failed if pair[1].found is None]
    wrong.sort(key=lambda pair: -_sureness(pair[1]))
    missed.sort(key=lambda pair: -_share(*pair))
    turns = [pair for both in zip(wrong, missed, strict=False) for pair in both]
    rest = wrong[len(missed) :] + missed[len(wrong) :]
    pictures = _Pictures(client)
    return [_failure(evaluation, pictures, *pair) for pair in (turns + rest)[:FAILURES]]


def _failure(evaluation: Evaluation, pictures: _Pictures, image: AnnotatedImage, query: ObjectSample) -> Failure:
    answer = query.found or query.given or Answer(rank=None, first=None, image_id=None, similarity=None)
    item_id = query.item_id or ""
    with Image.open(evaluation.plan.dataset.path(image)) as opened:
        crop = ImageOps.exif_transpose(opened).convert("RGB").crop(_around(query.box, image))
    return Failure(
        image.file,
        data_url(crop),
        cause(query) or "",
        query.class_name,
        item_id,
        pictures.of(item_id, None),
        answer.first or "",
        pictures.of(answer.first, answer.image_id) if answer.first else "",
        answer.similarity,
        answer.rank,
    )


class _Pictures:
    """Reference images of items, as data URLs."""

    def __init__(self, client: Client) -> None:
        self._item = lru_cache(2 * FAILURES)(lambda item_id: _item(client, item_id))

    def of(self, item_id: str, image_id: str | None) -> str:
        """That image of the item, or its first."""
        images: Sequence[bytes] = [
            each.data
            for each in self._item(item_id).images
            if each.data is not None and image_id in (None, each.image_id)
        ]
        if not images:
            return ""
        with Image.open(BytesIO(images[0])) as opened:
            return data_url(ImageOps.exif_transpose(opened).convert("RGB"))


def _item(client: Client, item_id: str) -> Item:
    return client.get(item_id, include_image_data=True)


def data_url(picture: Image.Image) -> str:
    """A thumbnail."""
    picture.thumbnail((SIDE, SIDE))
    packed = BytesIO()
    picture.save(packed, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(packed.getvalue()).decode()}"


def _around(box: Box, image: AnnotatedImage) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = box
    more = AROUND * max(x2 - x1, y2 - y1)
    return (
        round(max(0, x1 - more)),
        round(max(0, y1 - more)),
        round(min(image.width, x2 + more)),
        round(min(image.height, y2 + more)),
    )


def _sureness(query: ObjectSample) -> float:
    return (query.found.similarity if query.found else None) or 0


def _share(image: AnnotatedImage, query: ObjectSample) -> float:
    """Of the photo's area."""
    x1, y1, x2, y2 = query.box
    return (x2 - x1) * (y2 - y1) / (image.width * image.height)
