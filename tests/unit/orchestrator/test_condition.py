"""How good a picture of an object is: blur, darkness and size tell in the figures, and nothing else does."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.orchestrator.box import Box
from semblance.orchestrator.condition import BLURRED, DARK, GOOD, MEANINGS, Condition, bins, condition
from semblance.orchestrator.decode import Photo


def textured(side: int = 512) -> NDArray[np.uint8]:
    """Blobs of some pixels, as products have them."""
    noise = np.random.default_rng(0).integers(0, 256, (side // 8, side // 8, 3), np.uint8)
    return cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def of(pixels: NDArray[np.uint8], box: Box | None = None) -> Condition:
    return condition(Photo(pixels, pixels.shape[1], pixels.shape[0]), box)


def test_blur_lowers_sharpness_and_leaves_light_and_size() -> None:
    sharp = of(textured())
    found = [of(cv2.GaussianBlur(textured(), (0, 0), sigma).astype(np.uint8)) for sigma in (2, 4, 8)]
    figures = [each.sharpness for each in (sharp, *found)]
    assert figures == sorted(figures, reverse=True)
    assert figures[0] > BLURRED > figures[-1]
    assert [each.light for each in found] == pytest.approx([sharp.light] * 3, abs=1)
    assert {each.size for each in found} == {512.0}


def test_less_light_lowers_light() -> None:
    bright, dark = of(textured()), of((textured() * 0.4).round().astype(np.uint8))
    assert bright.light > DARK > dark.light
    assert dark.light == pytest.approx(0.4 * bright.light, abs=1)
    # And it is no less sharp for it.
    assert dark.sharpness == pytest.approx(bright.sharpness, rel=0.1)


def test_the_same_object_is_as_sharp_in_a_larger_photo() -> None:
    large = cv2.resize(textured(), (2048, 2048), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    assert of(large).sharpness == pytest.approx(of(textured()).sharpness, rel=0.1)


def test_only_the_pixels_of_the_box_count() -> None:
    pixels = np.zeros((200, 300, 3), np.uint8)
    pixels[50:100, 100:180] = 200
    inside = of(pixels, Box(100, 50, 180, 100))
    assert inside == Condition(sharpness=0.0, light=200.0, size=50.0)
    assert of(pixels, Box(0, 0, 90, 40)) == Condition(sharpness=0.0, light=0.0, size=40.0)
    assert of(pixels).size == 200


def test_size_is_of_the_original_where_the_photo_was_reduced() -> None:
    reduced = Photo(textured(512), 4096, 4096)
    assert condition(reduced, Box(0, 0, 400, 900)).size == 400


def test_a_box_thinner_than_a_pixel_can_be_measured() -> None:
    assert of(textured(), Box(511.2, 511.4, 511.9, 512)).size == pytest.approx(0.6)


def test_luma_is_bt_601() -> None:
    pixels = np.full((32, 32, 3), (10, 200, 90), np.uint8)
    assert of(pixels).light == pytest.approx(0.299 * 10 + 0.587 * 200 + 0.114 * 90, abs=0.5)


def test_a_picture_is_in_each_bin_that_fits() -> None:
    assert bins(True, False, True) == ["dark", "small"]
    assert bins(False, False, False) == [GOOD]
    assert set(bins(True, True, True)) | {GOOD} == MEANINGS.keys()
