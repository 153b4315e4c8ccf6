"""Whatever the bytes are, `decode` gives a photo or says that they are not one."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from semblance.orchestrator.decode import ImageLimits, decode
from semblance.orchestrator.errors import InvalidImage

LIMITS = ImageLimits(max_bytes=2**16, max_pixels=100_000)


def _seeds() -> list[bytes]:
    """Small valid files of every kind that is accepted."""
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    picture = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[274] = 6
    files = []
    for mode, kind, options in (
        ("RGB", "JPEG", {"exif": exif}),
        ("RGB", "JPEG", {"progressive": True}),
        ("CMYK", "JPEG", {}),
        ("L", "JPEG", {}),
        ("RGB", "PNG", {}),
        ("RGBA", "PNG", {}),
        ("P", "PNG", {"transparency": 0}),
        ("1", "PNG", {}),
        ("I;16", "PNG", {}),
        ("RGB", "WEBP", {"exif": exif}),
        ("RGBA", "WEBP", {"lossless": True}),
        ("RGB", "WEBP", {"save_all": True, "append_images": [picture.rotate(90)]}),
        ("RGB", "PNG", {"save_all": True, "append_images": [picture.rotate(180)]}),
    ):
        image = Image.fromarray(pixels[:, :, 0].astype(np.uint16)) if mode == "I;16" else picture.convert(mode)
        buffer = BytesIO()
        image.save(buffer, kind, **options)
        files.append(buffer.getvalue())
    return files


SEEDS = _seeds()


def photo_or_refusal(data: bytes) -> None:
    try:
        photo = decode(data, LIMITS)
    except InvalidImage:
        return
    assert photo.pixels.dtype == np.uint8
    assert photo.pixels.ndim == 3
    assert photo.pixels.shape[2] == 3
    assert 0 < photo.width * photo.height <= LIMITS.max_pixels


@pytest.mark.parametrize("seed", SEEDS)
def test_seeds_are_photos(seed: bytes) -> None:
    assert {decode(seed, LIMITS).width, decode(seed, LIMITS).height} == {24, 32}


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    photo_or_refusal(data)


@settings(max_examples=1500, deadline=None)
@given(
    seed=st.sampled_from(SEEDS),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    cut=st.tuples(st.floats(0, 1), st.integers(0, 12)),
    keep=st.floats(0.1, 1),
)
def test_damaged_files(seed: bytes, changes: list[tuple[float, int]], cut: tuple[float, int], keep: float) -> None:
    """Bytes changed, a few cut out, and the end cut off."""
    data = bytearray(seed)
    for where, value in changes:
        data[int(where * len(data))] = value
    start = int(cut[0] * len(data))
    del data[start : start + cut[1]]
    photo_or_refusal(bytes(data[: max(1, int(keep * len(data)))]))
