"""Pictures in the models' square inputs, and boxes back out of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semblance.orchestrator.box import Box
from semblance.orchestrator.crop import crop
from semblance.orchestrator.decode import Photo
from semblance.orchestrator.letterbox import Letterbox, letterbox


def letterboxed(picture: np.ndarray, size: int, pad_value: int) -> tuple[np.ndarray, Letterbox]:
    """The square, which held other pixels before, and where the picture is in it."""
    square = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    return square, letterbox(picture, square, pad_value)


def cropped(pixels: np.ndarray, boxes: list[Box]) -> np.ndarray:
    squares = np.full((len(boxes), 224, 224, 3), 77, np.uint8)
    crop(Photo(pixels, pixels.shape[1], pixels.shape[0]), boxes, list(squares), 114)
    return squares


def uniform(width: int, height: int, value: int = 200) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_fits_and_centres_and_pads() -> None:
    wide, _ = letterboxed(uniform(200, 100), 640, 114)
    assert (wide[160:480] == 200).all()
    assert (wide[:160] == 114).all()
    assert (wide[480:] == 114).all()
    tall, _ = letterboxed(uniform(100, 200), 640, 114)
    assert (tall == wide.transpose(1, 0, 2)).all()


@settings(max_examples=200, deadline=None)
@given(
    width=st.integers(1, 3000),
    height=st.integers(1, 3000),
    corners=st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4),
)
def test_boxes_come_back_where_they_were(width: int, height: int, corners: list[float]) -> None:
    _, boxed = letterboxed(np.zeros((height, width, 3), np.uint8), 64, 0)
    box = np.array([corners], np.float32) * np.array([width, height] * 2, np.float32)
    there = np.array([corners], np.float32) * np.array([boxed.width, boxed.height] * 2, np.float32)
    there += np.array([boxed.left, boxed.top] * 2, np.float32)
    np.testing.assert_allclose(boxed.to_picture(there, width, height), box, atol=1e-4 * max(width, height))


@pytest.mark.parametrize(("width", "height"), [(10_000, 1), (1, 10_000), (1, 1), (641, 639)])
def test_every_shape_fits(width: int, height: int) -> None:
    square, _ = letterboxed(uniform(width, height), 640, 114)
    assert (square == 200).any()


def test_a_crop_is_the_box_and_nothing_else() -> None:
    pixels = uniform(300, 200, 10)
    pixels[50:150, 100:200] = 250
    crops = cropped(pixels, [Box(100, 50, 200, 150), Box.whole(300, 200)])
    assert (crops[0] == 250).all()
    assert (crops[1] == 10).any()


def test_a_crop_covers_the_pixels_that_its_box_touches() -> None:
    pixels = uniform(10, 10, 0)
    pixels[4, 4] = 255
    assert (cropped(pixels, [Box(4.2, 4.2, 4.3, 4.3)]) == 255).all()


def test_a_crop_at_the_far_corner_has_a_pixel() -> None:
    crops = cropped(uniform(10, 10), [Box(10, 10, 10, 10), Box(9.99, 0, 10, 10)])
    assert (crops == 200).any(axis=(1, 2, 3)).all()
