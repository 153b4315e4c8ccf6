"""Each corruption keeps the form of a photo, is the same for the same seed, and hurts more the severer it is."""

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.training.evaluate.corruption import CORRUPTIONS, SEVERITIES, clutter, occlusion, rotation, scale

HEIGHT, WIDTH = 240, 320
BOXES = np.array([[40.0, 60, 120, 150], [200, 30, 290, 130]])

every = pytest.mark.parametrize("name", CORRUPTIONS)
geometric = ("rotation", "scale")


def photo(seed: int = 0) -> NDArray[np.uint8]:
    """Grey, with a saturated rectangle of its own colour in each box, and texture over all."""
    pixels = np.full((HEIGHT, WIDTH, 3), 90.0)
    for (x1, y1, x2, y2), colour in zip(BOXES.astype(int), ((230, 40, 40), (40, 220, 60)), strict=True):
        pixels[y1:y2, x1:x2] = colour
    return (pixels + np.random.default_rng(seed).normal(0, 4, pixels.shape)).clip(0, 255).astype(np.uint8)


@every
@pytest.mark.parametrize("severity", SEVERITIES)
def test_it_gives_a_photo_of_bytes_and_as_many_boxes_inside_it(name: str, severity: int) -> None:
    before = photo()
    pixels, boxes = CORRUPTIONS[name](before.copy(), BOXES.copy(), severity, np.random.default_rng(1))
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert boxes.shape == BOXES.shape
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= (pixels.shape[1], pixels.shape[0])).all()
    assert (boxes[:, :2] < boxes[:, 2:]).all()
    if name not in geometric:
        assert pixels.shape == before.shape
        assert (boxes == BOXES).all()


@every
def test_the_same_seed_gives_the_same_bytes_and_leaves_the_photo_alone(name: str) -> None:
    before = photo()
    first, again = (CORRUPTIONS[name](before, BOXES, 3, np.random.default_rng(8)) for _ in range(2))
    assert (first[0] == again[0]).all()
    assert (first[1] == again[1]).all()
    assert (before == photo()).all()


@every
def test_a_photo_without_boxes_can_be_corrupted(name: str) -> None:
    _, boxes = CORRUPTIONS[name](photo(), np.zeros((0, 4)), 2, np.random.default_rng(0))
    assert boxes.shape == (0, 4)


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name not in geometric])
def test_more_severe_is_further_from_the_photo(name: str) -> None:
    before = photo().astype(float)
    changes = [
        np.abs(CORRUPTIONS[name](photo(), BOXES, severity, np.random.default_rng(4))[0] - before).mean()
        for severity in SEVERITIES
    ]
    assert changes == sorted(changes)
    assert changes[0] > 0


@pytest.mark.parametrize("severity", SEVERITIES)
def test_rotated_and_scaled_boxes_hold_their_objects(severity: int) -> None:
    for corrupt in (rotation, scale):
        pixels, boxes = corrupt(photo(), BOXES, severity, np.random.default_rng(2))
        for (x1, y1, x2, y2), channel in zip(boxes, (0, 1), strict=True):
            others = [value for value in range(3) if value != channel]
            mine = (pixels[..., channel].astype(int) - pixels[..., others].max(axis=2)) > 60
            rows, columns = np.nonzero(mine)
            middle = (columns.mean(), rows.mean())
            assert middle == pytest.approx(((x1 + x2) / 2, (y1 + y2) / 2), abs=1.5)
            inside = (columns >= x1 - 1) & (columns <= x2 + 1) & (rows >= y1 - 1) & (rows <= y2 + 1)
            # The corners of a rectangle stand out of its ellipse's hull: 17 % of a square's area at 45 degrees.
            assert inside.mean() > 0.82


def test_a_quarter_turn_of_an_ellipses_hull_is_the_turned_box() -> None:
    """At 45 degrees the hull of a circle stays as large as it was."""
    square = np.array([[100.0, 60, 180, 140]])
    _, [box] = rotation(photo(), square, 5, np.random.default_rng(0))
    assert box[2] - box[0] == pytest.approx(80)
    assert box[3] - box[1] == pytest.approx(80)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_occlusion_covers_its_share_of_each_box(severity: int) -> None:
    before = photo()
    for seed in range(5):
        covered, _ = occlusion(before, BOXES, severity, np.random.default_rng(seed))
        changed = (covered != before).any(axis=2)
        for x1, y1, x2, y2 in BOXES.astype(int):
            assert changed[y1:y2, x1:x2].mean() == pytest.approx(severity / 10, abs=0.03)


def test_clutter_hides_little_of_any_object() -> None:
    before = photo()
    busy, _ = clutter(before, BOXES, 5, np.random.default_rng(0))
    changed = (busy != before).any(axis=2)
    for x1, y1, x2, y2 in BOXES.astype(int):
        # Smooth edges reach a pixel further than what is counted.
        assert changed[y1:y2, x1:x2].mean() < 0.25
    assert changed.mean() > 0.2
