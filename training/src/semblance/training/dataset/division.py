"""Divides photos into train, val and test, so that nothing is measured with what was learnt from.

Photos that are the same or nearly go into one split, and by default those that share an item, too. What is joined so is
dealt out whole, the largest first, each time to the split whose images and objects of each class fall short most: the
greedy idea of iterative stratification (Sechidis, Tsoumakas, Vlahavas 2011), for groups in place of single examples.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from semblance.training.dataset.check import Checked
from semblance.training.dataset.dataset import SPLITS, DatasetError, Split
from semblance.training.dataset.likeness import joined

By = Literal["item", "image"]

DEFAULT_SHARES = (0.70, 0.15, 0.15)

LEAST_OF_WANTED = 0.5
"""A split that gets less than this part of what was asked for is none that one can measure with."""


class IndivisibleError(DatasetError):
    """Too much is joined for the shares that were asked for."""


@dataclass(frozen=True)
class Division:
    """Which image goes where.

    Attributes:
        splits: one for each image.
        rule: how it was made, in words.
        largest: the share of all images that the largest set has of those that were dealt out whole.
        wanted: the shares that were asked for; None where the export's own splits were kept.
    """

    splits: tuple[Split, ...]
    rule: str
    largest: float = 0.0
    wanted: tuple[float, float, float] | None = None


def kept(images: Sequence[Checked]) -> Division | None:
    """The division that the export has already; None where it has none."""
    splits = tuple(image.source.split for image in images)
    present = [split for split in splits if split is not None]
    if not present or len(present) != len(splits):
        return None
    return Division(tuple(present), "as in the export")


def divide(
    images: Sequence[Checked],
    alike: Sequence[Sequence[int]],
    shares: tuple[float, float, float],
    by: By,
    seed: int,
) -> Division:
    """Deals images out.

    Args:
        alike: groups of images that are the same or nearly.
        shares: of train, val and test; they sum to 1.
        by: whether images that share an item stay together.

    Raises:
        IndivisibleError: With `by="item"`, a split would get less than half of what was asked for.
    """
    pairs = [(group[0], other) for group in alike for other in group[1:]]
    shared = _sharing_an_item(images) if by == "item" else []
    pairs += shared
    groups = joined(len(images), pairs)
    random.Random(seed).shuffle(groups)
    groups.sort(key=len, reverse=True)
    weights = _weights(images)
    dealt = _deal([weights[list(group)].sum(axis=0) for group in groups], np.array(shares))
    splits: list[Split] = ["train"] * len(images)
    for group, number in zip(groups, dealt, strict=True):
        for index in group:
            splits[index] = SPLITS[number]
    percents = ",".join(f"{100 * share:g}" for share in shares)
    rule = f"{percents} by {by}, seed {seed}"
    division = Division(tuple(splits), rule, len(groups[0]) / len(images), shares)
    if shared:
        _refuse_if_joined(division, shares)
    return division


def _sharing_an_item(images: Sequence[Checked]) -> list[tuple[int, int]]:
    first: dict[str, int] = {}
    return [
        (first[item], index)
        for index, image in enumerate(images)
        for item in sorted(image.items)
        if first.setdefault(item, index) != index
    ]


def _weights(images: Sequence[Checked]) -> NDArray[np.float64]:
    """float64 [images, 1 + classes]: each image's share of all images and of the objects of each class."""
    classes = sorted({found.class_name for image in images for found in image.objects})
    counts = np.array(
        [[1, *(sum(found.class_name == name for found in image.objects) for name in classes)] for image in images],
        np.float64,
    )
    totals: NDArray[np.float64] = counts.sum(axis=0)
    return counts / totals


def _deal(groups: Sequence[NDArray[np.float64]], shares: NDArray[np.float64]) -> list[int]:
    """A split's number for each group: where it takes most off the squares of what is missing."""
    open_splits = np.flatnonzero(shares)
    missing = np.repeat(shares[:, None], len(groups[0]), axis=1)
    dealt: list[int] = []
    for number, group in enumerate(groups):
        gain = (missing[open_splits] ** 2 - (missing[open_splits] - group) ** 2).sum(axis=1)
        empty = [split for split in open_splits if split not in dealt]
        # The last groups go to splits that would stay empty.
        if empty and len(groups) - number <= len(empty):
            chosen = int(max(empty, key=lambda split: shares[split]))
        else:
            chosen = int(open_splits[np.argmax(gain)])
        missing[chosen] -= group
        dealt.append(chosen)
    return dealt


def _refuse_if_joined(division: Division, shares: tuple[float, float, float]) -> None:
    count = len(division.splits)
    for split, share in zip(SPLITS, shares, strict=True):
        reached = division.splits.count(split)
        if reached < LEAST_OF_WANTED * math.floor(share * count):
            raise IndivisibleError(
                f"{division.largest:.0%} of the {count} images are joined by items that they share, so {split} would "
                f"get {reached} images in place of {share * count:.0f}. --split-by image keeps only photos that look "
                "alike together: val and test then show items of train, too, which is right where what is searched "
                "for is in the catalogue anyway. Or name another --split, or photograph some items apart"
            )
