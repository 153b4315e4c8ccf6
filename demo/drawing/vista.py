"""Pictures of nothing in particular that look to a network like photographs, for a detector to find nothing in.

Shapes of all sizes hide one another, their radii spread as r^-3: the dead leaves model, which has the edges and
the scaling of natural images (Lee, Mumford and Huang 2001, "Occlusion models for natural images"). What lies
further back is blurred more often, as by a lens.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from demo.drawing.texture import Field, noise, surface

RADII = (0.02, 0.6)
"""The smallest and the largest shape, as shares of the shorter side."""

LAYERS = (1, 5)
SHAPES = (4, 120)
"""In a layer."""


def vista(rng: np.random.Generator, height: int, width: int) -> Field:
    """A random picture: float32 [H,W,3], 0 to 255, RGB."""
    field = surface(rng, height, width).astype(np.float32)
    palette = rng.uniform(10, 245, (int(rng.integers(2, 7)), 3))
    for _ in range(int(rng.integers(LAYERS[0], LAYERS[1] + 1))):
        field = _shaded(rng, _littered(rng, field, palette))
    if rng.random() < 0.2:
        field[:] = field.mean(axis=2, keepdims=True)
    return np.clip(field, 0, 255)


def _littered(rng: np.random.Generator, field: Field, palette: NDArray[np.float64]) -> Field:
    """The picture with a layer of shapes on it."""
    height, width = field.shape[:2]
    low, high = (share * min(height, width) for share in RADII)
    for _ in range(int(rng.integers(*SHAPES))):
        # The inverse of the distribution function of r^-3 between the two.
        radius = (low**-2 - rng.random() * (low**-2 - high**-2)) ** -0.5
        colour = palette[rng.integers(len(palette))] * rng.uniform(0.6, 1.3) + rng.normal(0, 10, 3)
        outline = _blob(rng, radius) + rng.uniform((0, 0), (width, height))
        cv2.fillPoly(field, [np.round(outline).astype(np.int32)], colour.tolist())
    return field


def _shaded(rng: np.random.Generator, field: Field) -> Field:
    """The picture with uneven light, and maybe out of focus."""
    height, width = field.shape[:2]
    cells = int(rng.integers(2, 12))
    field = field * (1 + np.float32(rng.uniform(0, 0.5)) * noise(rng, height, width, (cells, cells), 5)[..., None])
    sigma = float(rng.choice([0.6, 1.5, 4.0]))
    return np.asarray(cv2.GaussianBlur(field, (0, 0), sigma), np.float32)


def _blob(rng: np.random.Generator, radius: float) -> NDArray[np.float64]:
    """A closed outline around the origin, from a triangle to a ragged oval: float64 [N,2], pixels."""
    corners = int(rng.integers(3, 24))
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + rng.uniform(0, np.pi / corners, corners)
    distance = radius * rng.uniform(rng.uniform(0.4, 1), 1, corners)
    points = np.stack([np.cos(angles), np.sin(angles) * rng.uniform(0.2, 1)], axis=1) * distance[:, None]
    turn = rng.uniform(0, np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.asarray(points @ rotation)
