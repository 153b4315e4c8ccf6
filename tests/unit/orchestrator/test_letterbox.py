"""Pictures in the models' square inputs, and boxes back out of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semblance.orchestrator.box import Box
from semblance.orchestrator.crop import crop
from semblance.orchestrator.decode import Photo
from semblance.orchestrator.letterbox import letterbox
from semblance.orchestrator.release import ModelVersion, Tensor

EMBEDDER = ModelVersion(
    name="embedder",
    version=1,
    sha256="",
    input=Tensor("crop", "UINT8", (224, 224, 3)),
    output=Tensor("embedding", "FP32", (2048,)),
    max_batch_size=32,
    pad_value=114,
)


def uniform(width: int, height: int, value: int = 200) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_fits_and_centres_and_pads() -> None:
    boxed = letterbox(uniform(200, 100), 640, 114)
    assert boxed.pixels.shape == (640, 640, 3)
    assert (boxed.pixels[160:480] == 200).all()
    assert (boxed.pixels[:160] == 114).all()
    assert (boxed.pixels[480:] == 114).all()


@settings(max_examples=200, deadline=None)
@given(
    width=st.integers(1, 3000),
    height=st.integers(1, 3000),
    corners=st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4),
)
def test_boxes_come_back_where_they_were(width: int, height: int, corners: list[float]) -> None:
    boxed = letterbox(np.zeros((height, width, 3), np.uint8), 64, 0)
    box = np.array([corners], np.float32) * np.array([width, height] * 2, np.float32)
    there = box * np.array([boxed.scale_x, boxed.scale_y] * 2, np.float32)
    there += np.array([boxed.left, boxed.top] * 2, np.float32)
    np.testing.assert_allclose(boxed.to_picture(there), box, atol=1e-4 * max(width, height))


@pytest.mark.parametrize(("width", "height"), [(10_000, 1), (1, 10_000), (1, 1), (641, 639)])
def test_every_shape_fits(width: int, height: int) -> None:
    boxed = letterbox(uniform(width, height), 640, 114)
    assert (boxed.pixels == 200).any()


def test_a_crop_is_the_box_and_nothing_else() -> None:
    pixels = uniform(300, 200, 10)
    pixels[50:150, 100:200] = 250
    crops = crop(Photo(pixels), [Box(100, 50, 200, 150), Box.whole(300, 200)], EMBEDDER)
    assert crops.shape == (2, 224, 224, 3)
    assert crops.dtype == np.uint8
    assert (crops[0] == 250).all()
    assert (crops[1] == 10).any()


def test_a_crop_covers_the_pixels_that_its_box_touches() -> None:
    pixels = uniform(10, 10, 0)
    pixels[4, 4] = 255
    assert (crop(Photo(pixels), [Box(4.2, 4.2, 4.3, 4.3)], EMBEDDER) == 255).all()


def test_a_crop_at_the_far_corner_has_a_pixel() -> None:
    crops = crop(Photo(uniform(10, 10)), [Box(10, 10, 10, 10), Box(9.99, 0, 10, 10)], EMBEDDER)
    assert (crops == 200).any(axis=(1, 2, 3)).all()
