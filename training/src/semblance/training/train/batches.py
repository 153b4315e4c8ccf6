"""Which items stand beside each other in a batch: those that are confused with each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from semblance.training.train.material import Item, Material
from semblance.training.train.views import Augmentation, view

Confusions = Mapping[str, Sequence[str]]
"""For an item, those that it may be taken for, the likeliest first."""

GROUP = 4
"""An item and up to three that it is confused with."""

VIEWS = 2
"""Of each item in a batch: one of a reference image, the other of a photo where there is one."""


class Batches:
    """Batches of views. A batch follows from the seed and its number alone, so that a resumed run draws the same."""

    def __init__(self, material: Material, count: int, side: int, seed: int) -> None:
        """Args: count: items in a batch. side: pixels along a view."""
        self._material = material
        self._items = {item.item_id: number for number, item in enumerate(material.items)}
        self._count = min(count, len(material.items))
        self._side = side
        self._seed = seed

    def __len__(self) -> int:
        """So many show every patch once, on average."""
        return max(1, round(len(self._material.patches) / (VIEWS * self._count)))

    def batch(
        self, number: int, confusions: Confusions, pool: ThreadPoolExecutor
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Views, UINT8 [N,side,side,3], and the number of the item of each, INT64 [N]."""
        random = np.random.default_rng([self._seed, number])
        chosen = self._chosen(random, confusions)
        patches = self._material.patches
        shown = [
            (item, int(random.choice(source))) for item in chosen for source in _sources(self._material.items[item])
        ]
        others = random.integers(len(patches), size=len(shown))
        generators = random.spawn(len(shown))

        def draw(place: int) -> NDArray[np.uint8]:
            patch, other = patches[shown[place][1]], patches[others[place]]
            return view(generators[place], patch, other, self._side, Augmentation())

        pixels = np.stack(list(pool.map(draw, range(len(shown)))))
        return pixels, np.array([item for item, _ in shown], np.int64)

    def _chosen(self, random: np.random.Generator, confusions: Confusions) -> list[int]:
        """Different items: groups of an item and some that it is confused with."""
        chosen: dict[int, None] = {}
        for item in random.permutation(len(self._items)).tolist():
            names = confusions.get(self._material.items[item].item_id, ())
            rivals = [self._items[name] for name in names if name in self._items]
            # The likeliest always, the others in turn.
            rest = random.permutation(rivals[1:]).astype(int).tolist()
            chosen |= dict.fromkeys([item, *rivals[:1], *rest][:GROUP])
            if len(chosen) >= self._count:
                break
        return list(chosen)[: self._count]


def _sources(item: Item) -> tuple[Sequence[int], ...]:
    """Where each of an item's views comes from."""
    references = item.references or item.photographed
    return (references, item.photographed or references)
