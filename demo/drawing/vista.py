"""Pictures of nothing in particular that look to a network like photographs, for a detector to find nothing in.

Shapes of all sizes hide one another, their radii spread as r^-3: the dead leaves model, which has the edges and
the scaling of natural images (Lee, Mumford and Huang 2001, "Occlusion models for natural images"). A layer may be of
one grain, as gravel is, or combed in one direction, as grass is; what lies further back is blurred more often.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from demo.drawing.texture import Field, noise, surface

RADII = (0.008, 0.6)
"""The smallest and the largest shape, as shares of the shorter side."""

LAYERS = (1, 5)
AREA = (0.05, 3.0)
"""What the shapes of a layer would cover side by side, as a share of the picture."""

MOST = 2000
"""Shapes in a layer."""


def vista(rng: np.random.Generator, height: int, width: int) -> Field:
    """A random picture: float32 [H,W,3], 0 to 255, RGB."""
    field = surface(rng, height, width).astype(np.float32)
    colours = int(rng.integers(2, 7))
    palette = rng.uniform(10, 245, (colours, 1)) + rng.choice([8, 25, 60]) * rng.standard_normal((colours, 3))
    for _ in range(int(rng.integers(LAYERS[0], LAYERS[1] + 1))):
        field = _shaded(rng, _littered(rng, field, palette))
    if rng.random() < 0.2:
        field[:] = field.mean(axis=2, keepdims=True)
    return np.clip(field, 0, 255)


def _littered(rng: np.random.Generator, field: Field, palette: NDArray[np.float64]) -> Field:
    """The picture with a layer of shapes on it."""
    height, width = field.shape[:2]
    low, high = np.sort(np.exp(rng.uniform(np.log(RADII[0]), np.log(RADII[1]), 2))) * min(height, width)
    slim, combed = rng.uniform(0.05, 1), rng.uniform(0, np.pi)
    spread = np.pi if rng.random() < 0.6 else rng.uniform(0.1, 0.6)
    left = rng.uniform(*AREA) * height * width
    for _ in range(MOST):
        # The inverse of the distribution function of r^-3 between the two.
        radius = (low**-2 - rng.random() * (low**-2 - high**-2)) ** -0.5
        colour = palette[rng.integers(len(palette))] * rng.uniform(0.5, 1.4) + rng.normal(0, 10, 3)
        outline = _blob(rng, radius, rng.uniform(slim, 1), combed + rng.uniform(-spread, spread))
        outline += rng.uniform((0, 0), (width, height))
        cv2.fillPoly(field, [np.round(outline).astype(np.int32)], colour.tolist())
        left -= 2 * slim * radius**2
        if left < 0:
            break
    return field


def _shaded(rng: np.random.Generator, field: Field) -> Field:
    """The picture with uneven light, and maybe out of focus."""
    height, width = field.shape[:2]
    cells = int(rng.integers(2, 12))
    field = field * (1 + np.float32(rng.uniform(0, 0.5)) * noise(rng, height, width, (cells, cells), 5)[..., None])
    sigma = float(rng.choice([0.6, 1.5, 4.0]))
    return np.asarray(cv2.GaussianBlur(field, (0, 0), sigma), np.float32)


def _blob(rng: np.random.Generator, radius: float, slim: float, turn: float) -> NDArray[np.float64]:
    """An outline around the origin, from a triangle to a ragged oval, `slim` times as wide as long: float64 [N,2]."""
    corners = int(rng.integers(3, 24))
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + rng.uniform(0, np.pi / corners, corners)
    distance = radius * rng.uniform(rng.uniform(0.4, 1), 1, corners)
    points = np.stack([np.cos(angles), np.sin(angles) * slim], axis=1) * distance[:, None]
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.asarray(points @ rotation)
