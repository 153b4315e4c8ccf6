"""What photos suffer from, at five severities, applied to a photo and its boxes.

Each function takes a photo, uint8 [H,W,3] RGB, its boxes, float64 [N,4] in pixels, a severity of 1 to 5, and a random
generator, and gives a new photo with the boxes where the objects then are. The same generator state gives the same
bytes.

Parameters of `blur`, `motion_blur`, `noise` and `jpeg` are those of ImageNet-C (Hendrycks & Dietterich 2019,
arXiv:1903.12261). Michaelis et al. 2019 (arXiv:1907.07484) apply them as they are to COCO's photos, whose longer side
is 640 pixels; lengths grow with the longer side here, so that a severity means the same in a photo of any size.
The others' parameters are chosen here, where their docstrings name no source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Boxes = NDArray[np.float64]
Corrupted = tuple[Pixels, Boxes]
Corruption = Callable[[Pixels, Boxes, int, np.random.Generator], Corrupted]

SEVERITIES = (1, 2, 3, 4, 5)

COCO_SIDE = 640
"""Longer side of COCO's photos, for which lengths are given."""

GAMMA = 2.2
"""Pixels are light to the power of its inverse, near enough to sRGB."""

PHOTONS = 500
"""That a white pixel counts at full exposure, for the noise of low light."""

BACKGROUND = (114, 114, 114)
"""Grey of what turned or shrunken photos do not cover, as of the detector's letterbox."""


def blur(pixels: Pixels, boxes: Boxes, severity: int, rng: np.random.Generator) -> Corrupted:
    """Out of focus: a Gaussian."""
    sigma = (1, 2, 3, 4, 6)[severity - 1] * _unit(pixels)
    return _image(cv2.GaussianBlur(pixels, (0, 0), sigma)), boxes


def motion_blur(pixels: Pixels, boxes: Boxes, severity: int, rng: np.random.Generator) -> Corrupted:
    """The camera moved within 45 degrees of the horizontal; centred, so that objects stay in their boxes."""
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[severity - 1]
    unit = _unit(pixels)
    reach = max(1, round(radius * unit / 2))
    steps = np.linspace(-reach, reach, 4 * reach + 1)
    strength = np.exp(-((2 * steps / (sigma * unit)) ** 2) / 2)
    angle = rng.uniform(-np.pi / 4, np.pi / 4)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    places = np.rint(reach + np.outer(steps, (np.sin(angle), np.cos(angle)))).astype(int)
    np.add.at(kernel, (places[:, 0], places[:, 1]), strength)
    return _image(cv2.filter2D(pixels, -1, kernel / kernel.sum())), boxes


def low_light(pixels: Pixels, boxes: Boxes, severity: int, rng: np.random.Generator) -> Corrupted:
    """One to five stops too dark, with the shot noise of so few photons."""
    light = (pixels / 255) ** GAMMA * 2.0**-severity
    return _quantised((rng.poisson(light * PHOTONS) / PHOTONS) ** (1 / GAMMA)), boxes


def over_exposure(pixels: Pixels, boxes: Boxes, severity: int, rng: np.random.Generator) -> Corrupted:
    """Half a stop to two and a half stops too bright; what is white then stays white."""
    return _quantised(((pixels / 255) ** GAMMA * 2 ** (severity / 2)) ** (1 / GAMMA)), boxes


def noise(pixels: Pixels, boxes: Boxes, severity: int, rng: np.random.Generator) -> Corrupted:
    """Gaussian noise of each value."""
    strength = (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1]
    return _quantised(pixels / 255 + rng.normal(0, strength, pixels.shape)), boxes


def jpeg(pixels: Pixels, boxes: Boxes, severity: int, rng: np.random.Generator) -> Corrupted:
    """Compressed as JPEG of that quality."""
    quality = (25, 18, 15, 10, 7)[severity - 1]
    _, packed = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return _image(cv2.imdecode(packed, cv2.IMREAD_COLOR))[..., ::-1], boxes


def occlusion(pixels: Pixels, boxes: Boxes, severity: int, rng: np.random.Generator) -> Corrupted:
    """A patch of noise over a tenth to a half of each box, as random erasing lays them (Zhong et al. 2017,
    arXiv:1708.04896): of any aspect from 1:3 to 3:1 that fits."""
    covered = pixels.copy()
    for x1, y1, x2, y2 in boxes:
        width, height = x2 - x1, y2 - y1
        share = severity / 10
        aspect = np.exp(rng.uniform(-np.log(3), np.log(3)))
        across = min(1.0, max(share, np.sqrt(share * aspect)))
        w, h = round(across * width), round(share / across * height)
        x, y = round(x1 + rng.uniform(0, max(0, width - w))), round(y1 + rng.uniform(0, max(0, height - h)))
        patch = covered[max(0, y) : y + h, max(0, x) : x + w]
        patch[...] = rng.integers(0, 256, patch.shape)
    return covered, boxes


def rotation(pixels: Pixels, boxes: Boxes, severity: int, rng: np.random.Generator) -> Corrupted:
    """5 to 45 degrees to either side, on a canvas that holds all of the photo.

    A box becomes the hull of its turned inscribed ellipse, which is nearer to the object's than that of its turned
    corners (Kalra et al. 2021, arXiv:2109.13488).
    """
    degrees = (5, 10, 20, 30, 45)[severity - 1] * rng.choice((-1, 1))
    height, width = pixels.shape[:2]
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    across, down = int(np.ceil(width * cos + height * abs(sin))), int(np.ceil(width * abs(sin) + height * cos))
    turn = np.array([[cos, sin], [-sin, cos]])
    shift = np.array([across / 2, down / 2]) - turn @ (width / 2, height / 2)
    matrix = np.column_stack([turn, shift])
    turned = cv2.warpAffine(pixels, matrix, (across, down), flags=cv2.INTER_LINEAR, borderValue=BACKGROUND)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2 @ turn.T + shift
    halves = (boxes[:, 2:] - boxes[:, :2]) / 2
    reach = np.sqrt(halves**2 @ (turn**2).T)
    return _image(turned), np.concatenate([middles - reach, middles + reach], axis=1)


def scale(pixels: Pixels, boxes: Boxes, severity: int, rng: np.random.Generator) -> Corrupted:
    """Further away: 3/4 to 1/6 of the size, in the middle of a canvas of the photo's size."""
    factor = (0.75, 0.5, 1 / 3, 0.25, 1 / 6)[severity - 1]
    height, width = pixels.shape[:2]
    small = cv2.resize(pixels, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_AREA)
    y, x = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    canvas = np.empty_like(pixels)
    canvas[...] = BACKGROUND
    canvas[y : y + small.shape[0], x : x + small.shape[1]] = small
    factors = np.array([small.shape[1] / width, small.shape[0] / height] * 2)
    return canvas, boxes * factors + np.array([x, y, x, y])


SHAPE_SIDES = (0.02, 0.09)
"""Of clutter, as shares of the photo's longer side."""

CLUTTERED = 0.15
"""At most so much of a box is hidden by clutter: what hides more is `occlusion`."""


def clutter(pixels: Pixels, boxes: Boxes, severity: int, rng: np.random.Generator) -> Corrupted:
    """10 to 160 coloured ellipses and bars lie about."""
    height, width = pixels.shape[:2]
    busy, hidden = pixels.copy(), np.zeros((height, width), np.uint8)
    for _ in range(10 * 2 ** (severity - 1)):
        middle = rng.uniform(0, (width, height))
        sides = rng.uniform(*SHAPE_SIDES, 2) * max(width, height)
        colour = tuple(int(value) for value in rng.integers(0, 256, 3))
        corners = cv2.boxPoints((middle.tolist(), sides.tolist(), rng.uniform(0, 180)))
        shape = np.rint(corners).astype(np.int32)
        if rng.random() < 0.5:
            axes = (max(1, round(sides[0] / 2)), max(1, round(sides[1] / 2)))
            centre = (round(middle[0]), round(middle[1]))
            shape = np.asarray(cv2.ellipse2Poly(centre, axes, int(rng.integers(0, 180)), 0, 360, 15), np.int32)
        after = _image(cv2.fillPoly(hidden.copy(), [shape], (1,)))
        if all(_hidden_share(after, box) <= CLUTTERED for box in boxes):
            hidden = after
            cv2.fillPoly(busy, [shape], colour, cv2.LINE_AA)
    return busy, boxes


CORRUPTIONS: Mapping[str, Corruption] = {
    "blur": blur,
    "motion blur": motion_blur,
    "low light": low_light,
    "over-exposure": over_exposure,
    "noise": noise,
    "JPEG": jpeg,
    "occlusion": occlusion,
    "rotation": rotation,
    "scale": scale,
    "clutter": clutter,
}


def _unit(pixels: Pixels) -> float:
    """Pixels for one of a photo of COCO's."""
    return float(max(pixels.shape[:2])) / COCO_SIDE


def _hidden_share(hidden: Pixels, box: NDArray[np.float64]) -> float:
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    part = hidden[max(0, y1) : y2, max(0, x1) : x2]
    return float(np.count_nonzero(part)) / part.size if part.size else 0.0


def _quantised(values: NDArray[np.float64]) -> Pixels:
    """From 0 to 1; what is outside is clipped."""
    return (values.clip(0, 1) * 255).round().astype(np.uint8)


def _image(pixels: object) -> Pixels:
    """OpenCV's types say less than its results are."""
    return np.asarray(pixels, np.uint8)
