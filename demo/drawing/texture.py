"""Surfaces on which scenes are laid out: uint8 [H,W,3], RGB."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Field = NDArray[np.float32]
Texture = Callable[[np.random.Generator, int, int], Field]
"""Draws a surface of a height and a width: float32 [H,W,3], 0 to 255."""


def noise(rng: np.random.Generator, height: int, width: int, cells: tuple[int, int], octaves: int = 4) -> Field:
    """Smooth noise, about -1 to 1: float32 [H,W]; `cells` rows and columns of bumps, finer in every octave."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        rows, columns = (min(side, max(2, n << octave)) for side, n in zip((height, width), cells, strict=True))
        coarse = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
        total += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * np.float32(0.5**octave)
    return total


def _tinted(field: Field, colour: NDArray[np.float32], strength: float) -> Field:
    return colour * (1 + np.float32(strength) * field[..., None])


def _colour(rng: np.random.Generator, low: int = 40, high: int = 235) -> NDArray[np.float32]:
    """A random, mostly muted colour: float32 [3]."""
    grey = rng.uniform(low, high)
    return np.clip(grey + rng.normal(0, 30, 3), 15, 250).astype(np.float32)


def _wood(rng: np.random.Generator, height: int, width: int) -> Field:
    base = np.array([168, 116, 70], np.float32) * np.float32(rng.uniform(0.55, 1.3))
    grain = noise(rng, height, width, (int(rng.integers(14, 40)), 2), 3)
    surface = _tinted(grain, base, 0.16)
    plank = height // int(rng.integers(2, 7))
    for y in range(plank, height, plank):
        surface[max(0, y - 2) : y + 1] *= 0.55
        surface[y : y + plank] *= np.float32(rng.uniform(0.9, 1.12))
    return np.ascontiguousarray(surface[:, ::-1])


def _cloth(rng: np.random.Generator, height: int, width: int) -> Field:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    weave = np.sin(x * rng.uniform(0.6, 1.6)) * np.sin(y * rng.uniform(0.6, 1.6))
    surface = _tinted(
        (0.12 * weave + 0.25 * noise(rng, height, width, (3, 4), 2)).astype(np.float32), _colour(rng), 0.6
    )
    if rng.random() < 0.5:
        pitch = rng.integers(24, 90)
        stripes = (x // pitch % 2 if rng.random() < 0.5 else (x // pitch + y // pitch) % 2).astype(np.float32)
        surface = surface * (1 - 0.5 * stripes[..., None]) + _colour(rng) * 0.5 * stripes[..., None]
    return surface


def _stone(rng: np.random.Generator, height: int, width: int) -> Field:
    surface = _tinted(noise(rng, height, width, (6, 8), 6), _colour(rng, 70, 190), 0.22)
    if rng.random() < 0.5:
        pitch = int(rng.integers(70, 180))
        surface[::pitch] *= 0.6
        surface[:, ::pitch] *= 0.6
    return surface


def _paper(rng: np.random.Generator, height: int, width: int) -> Field:
    surface = _tinted(noise(rng, height, width, (40, 60), 3), _colour(rng, 190, 245), 0.025)
    if rng.random() < 0.6:
        surface[:: int(rng.integers(18, 40))] *= np.float32(0.82)
    return surface


def _gradient(rng: np.random.Generator, height: int, width: int) -> Field:
    corners = np.stack([_colour(rng) for _ in range(4)]).reshape(2, 2, 3)
    return cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)


def _speckle(rng: np.random.Generator, height: int, width: int) -> Field:
    coloured = [noise(rng, height, width, (5, 7), 5) for _ in range(3)]
    return _colour(rng) + np.float32(rng.uniform(15, 55)) * np.stack(coloured, axis=-1)


TEXTURES: dict[str, Texture] = {
    "wood": _wood,
    "cloth": _cloth,
    "stone": _stone,
    "paper": _paper,
    "gradient": _gradient,
    "speckle": _speckle,
}


def surface(rng: np.random.Generator, height: int, width: int) -> Picture:
    """A random surface."""
    texture = TEXTURES[str(rng.choice(list(TEXTURES)))]
    if rng.random() < 0.5:
        return np.clip(texture(rng, height, width), 0, 255).astype(np.uint8)
    turned = np.clip(texture(rng, width, height), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(turned.transpose(1, 0, 2))
