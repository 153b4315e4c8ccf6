"""Pictures to compare networks on: all different, full of structure, at the size of the contract."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from semblance.export.errors import ExportError


@dataclass(frozen=True)
class Gallery:
    """Pictures and what to call them. `pixels`: UINT8 [N,size,size,3], RGB."""

    names: tuple[str, ...]
    pixels: NDArray[np.uint8]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.pixels.tobytes()).hexdigest()


LEARNT, JUDGED = slice(0, None, 2), slice(1, None, 2)
"""Of calibration pictures every other one is learnt from; the rest, which a model was not fitted to, judges it."""

LEAST_CALIBRATION = 20
"""Half of them say whether a graph is broken; what it loses in answers takes hundreds."""


SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


def drawn(count: int, size: int, seed: int = 0) -> Gallery:
    """Gradients, shapes and noise. The noise leaves no two places alike, so that no two scores tie."""
    pixels = [_draw(np.random.default_rng([seed, number]), size) for number in range(count)]
    return Gallery(tuple(f"drawn picture {number}" for number in range(count)), np.stack(pixels))


def photographs(folder: Path, count: int, size: int, pad_value: int) -> Gallery:
    """The first `count` pictures of a folder, by name, letterboxed.

    Raises:
        ExportError: the folder holds fewer.
    """
    paths = _pictures(folder)
    if len(paths) < count:
        raise ExportError(
            f"{folder} holds {len(paths)} pictures, and the gate needs {count}, one for each place of the largest "
            "batch. Add pictures, lower --max-batch-size, or leave --images out to compare on drawn ones."
        )
    return _read(paths[:count], size, pad_value)


def calibration(folder: Path, limit: int, size: int, pad_value: int) -> Gallery:
    """Up to `limit` pictures of a folder, spread evenly over their names, letterboxed.

    Raises:
        ExportError: there are too few.
    """
    paths = _pictures(folder)
    if len(paths) < LEAST_CALIBRATION:
        raise ExportError(
            f"{folder} holds {len(paths)} pictures, and calibration needs {LEAST_CALIBRATION}, better some hundreds: "
            "of what the model will see, since its numbers are scaled to them. Add pictures."
        )
    count = min(limit, len(paths))
    return _read([paths[place * len(paths) // count] for place in range(count)], size, pad_value)


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def _read(paths: list[Path], size: int, pad_value: int) -> Gallery:
    pixels = np.stack([_letterbox(path, size, pad_value) for path in paths])
    return Gallery(tuple(path.name for path in paths), pixels)


def _draw(random: np.random.Generator, size: int) -> NDArray[np.uint8]:
    corners = random.integers(0, 256, (2, 2, 3), dtype=np.uint8)
    image = Image.fromarray(corners).resize((size, size), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    for _ in range(random.integers(8, 16)):
        x, y = random.integers(-size // 10, size, 2)
        width, height = random.integers(size // 16, size // 2, 2)
        fill = tuple(int(value) for value in random.integers(0, 256, 3))
        outline = tuple(int(value) for value in random.integers(0, 256, 3))
        shape = draw.ellipse if random.random() < 0.5 else draw.rectangle
        shape((int(x), int(y), int(x + width), int(y + height)), fill, outline, width=max(1, size // 80))
    noise = random.normal(0, 8, (size, size, 3))
    return (np.asarray(image) + noise).clip(0, 255).astype(np.uint8)


def _letterbox(path: Path, size: int, pad_value: int) -> NDArray[np.uint8]:
    with Image.open(path) as file:
        upright = ImageOps.exif_transpose(file).convert("RGB")
    return np.asarray(ImageOps.pad(upright, (size, size), color=(pad_value,) * 3))
