"""What is accepted as an image, and what becomes of it."""

import struct
import subprocess
import sys
import time
import zlib
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from semblance.orchestrator.decode import ImageLimits, decode
from semblance.orchestrator.errors import InvalidImage
from semblance.orchestrator.scans import most_scans

LIMITS = ImageLimits(max_bytes=2**20, max_pixels=1_000_000)


def picture(width: int = 64, height: int = 48) -> Image.Image:
    """Four colours, one in each quarter, so that every turn and mirroring of it is different."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (200, 30, 30)
    pixels[: height // 2, width // 2 :] = (30, 200, 30)
    pixels[height // 2 :, : width // 2] = (30, 30, 200)
    pixels[height // 2 :, width // 2 :] = (220, 220, 60)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, depth: int, colour: int, rows: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


def same(actual: NDArray[np.uint8], expected: Image.Image | NDArray[np.uint8], tolerance: float) -> None:
    wanted = np.asarray(expected)
    assert actual.shape == wanted.shape
    assert actual.dtype == np.uint8
    assert np.abs(actual.astype(int) - wanted).mean() <= tolerance


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"this is no image", "JPEG, PNG or WebP"),
        (b"\xff\xd8\xff", "JPEG, PNG or WebP"),
        (encoded(picture(), "GIF"), "JPEG, PNG or WebP"),
        (encoded(picture(), "BMP"), "JPEG, PNG or WebP"),
        (encoded(picture(), "TIFF"), "JPEG, PNG or WebP"),
        (encoded(picture(), "JPEG")[:-2], "damaged or truncated"),
        (encoded(picture(), "JPEG")[:-40], "damaged or truncated"),
        (encoded(picture(), "JPEG", progressive=True)[:-20], "damaged or truncated"),
        (encoded(picture().convert("CMYK"), "JPEG")[:-40], "damaged or truncated"),
        (encoded(picture())[:-60], "damaged or truncated"),
        (encoded(picture(), "WEBP")[:-20], "damaged|JPEG, PNG or WebP"),
        (encoded(picture(), "WEBP", lossless=True)[:-20], "damaged|JPEG, PNG or WebP"),
        (encoded(picture().convert("RGBA"), "WEBP")[:-20], "damaged|JPEG, PNG or WebP"),
        (bytes(2**20 + 1), r"1,048,577 bytes, and at most 1,048,576"),
        (png(100_000, 100_000, 8, 2), r"100000 × 100000 = 10000.0 megapixels, and at most 1.0"),
        (png(0, 5, 8, 2), "JPEG, PNG or WebP"),
    ],
)
def test_refuses_with_a_reason(data: bytes, message: str) -> None:
    with pytest.raises(InvalidImage, match=message):
        decode(data, LIMITS)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("size", [(1, 1), (10_000, 1), (1, 10_000), (641, 479)])
def test_accepts_every_shape(kind: str, size: tuple[int, int]) -> None:
    photo = decode(encoded(picture(*size), kind), LIMITS)
    assert (photo.width, photo.height) == size


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("JPEG", {"quality": 95}, 3),
        ("JPEG", {"quality": 95, "progressive": True}, 3),
        ("JPEG", {"quality": 95, "subsampling": "4:2:2"}, 3),
        ("PNG", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 95}, 3),
    ],
)
def test_gives_rgb(kind: str, options: dict[str, object], tolerance: float) -> None:
    same(decode(encoded(picture(), kind, **options), LIMITS).pixels, picture(), tolerance)


def test_cmyk_jpeg_becomes_rgb() -> None:
    same(decode(encoded(picture().convert("CMYK"), "JPEG", quality=95), LIMITS).pixels, picture(), 4)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_grey_becomes_rgb(kind: str) -> None:
    grey = picture().convert("L")
    same(decode(encoded(grey, kind), LIMITS).pixels, grey.convert("RGB"), 2)


def test_one_bit_becomes_black_and_white() -> None:
    bits = Image.fromarray(np.eye(16, dtype=np.uint8) * 255).convert("1")
    same(decode(encoded(bits), LIMITS).pixels, bits.convert("RGB"), 0)


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    expected = np.repeat((values >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    same(decode(encoded(Image.fromarray(values)), LIMITS).pixels, expected, 0)


def test_sixteen_bit_rgb_is_scaled() -> None:
    pixel = struct.pack(">HHH", 0xC8FF, 0x1E00, 0x0080)
    photo = decode(png(3, 2, 16, 2, (b"\0" + pixel * 3) * 2), LIMITS)
    assert photo.pixels.reshape(-1, 3).tolist() == [[0xC8, 0x1E, 0x00]] * 6


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparent_parts_are_white(kind: str) -> None:
    image = picture().convert("RGBA")
    image.putalpha(Image.fromarray(np.repeat([[0] * 32 + [255] * 32], 48, axis=0).astype(np.uint8)))
    pixels = decode(encoded(image, kind, lossless=True), LIMITS).pixels
    assert (pixels[:, :32] == 255).all()
    same(pixels[:, 32:], np.asarray(picture())[:, 32:], 0)


def test_grey_with_alpha_is_laid_on_white() -> None:
    image = Image.new("LA", (4, 4), (0, 128))
    assert set(decode(encoded(image), LIMITS).pixels.flatten().tolist()) == {127}


def test_palette_with_transparency_is_laid_on_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([200, 30, 30, 30, 200, 30])
    image.putdata([0, 1])
    assert decode(encoded(image, transparency=0), LIMITS).pixels.tolist() == [[[255, 255, 255], [30, 200, 30]]]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_first_frame_of_an_animation_counts(kind: str) -> None:
    frames = [picture(), Image.new("RGB", (64, 48), "black")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100, lossless=True)
    same(decode(data, LIMITS).pixels, picture(), 0)


def test_first_of_several_pictures_in_a_jpeg_counts() -> None:
    data = encoded(picture(), "MPO", save_all=True, append_images=[Image.new("RGB", (64, 48))], quality=95)
    same(decode(data, LIMITS).pixels, picture(), 3)


# What was done to the picture when it was stored under each EXIF orientation (TIFF 6.0, tag 274): the inverse of what
# a viewer does.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", STORED)
def test_is_upright_whatever_its_exif_orientation(kind: str, orientation: int) -> None:
    turn = STORED[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    stored = picture() if turn is None else picture().transpose(turn)
    same(decode(encoded(stored, kind, exif=exif, quality=95), LIMITS).pixels, picture(), 3)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_impossible_orientation_is_none(orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    same(decode(encoded(picture(), "JPEG", exif=exif, quality=95), LIMITS).pixels, picture(), 3)


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0garbage" * 20])
def test_broken_exif_is_ignored(exif: bytes) -> None:
    same(decode(encoded(picture(), "JPEG", exif=exif, quality=95), LIMITS).pixels, picture(), 3)


def test_bytes_behind_a_jpeg_are_ignored() -> None:
    same(decode(encoded(picture(), "JPEG", quality=95) + b"\0" * 100, LIMITS).pixels, picture(), 3)


def scanned(kind: str, times: int, between: bytes = b"") -> bytes:
    """A JPEG whose last scan comes so many times, each 20 bytes or less."""
    if kind == "progressive":
        data = encoded(Image.new("L", (640, 480), 128), "JPEG", progressive=True)
        scan = data[data.rindex(b"\xff\xda") : -2]
    else:
        coded = encoded(Image.new("RGB", (640, 480), (128, 128, 128)), "JPEG", subsampling=0)
        data = coded[: coded.index(b"\xff\xda")] + coded[-2:]
        scan = b"\xff\xda" + struct.pack(">HB", 8, 1) + bytes([1, 0, 0, 63, 0]) + b"\0"
    return data[:-2] + (between + scan) * times + data[-2:]


@pytest.mark.parametrize("kind", ["progressive", "separate components"])
@pytest.mark.parametrize(
    "between", [b"", b"\xff\xfe\0\4\xff\xd9", b"\xff\1", b"\xff\xff\xff", b"\xff\xd0", b"\0\0\xff\0"], ids=repr
)
def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded(kind: str, between: bytes) -> None:
    data = scanned(kind, 20_000, between)
    begin = time.process_time()
    with pytest.raises(InvalidImage, match=r"in 20,0.. scans, and at most 65 are accepted|not a JPEG"):
        decode(data, LIMITS)
    # Decoding takes a minute.
    assert time.process_time() - begin < 5


def test_a_scan_of_all_components_behind_others_ends_nothing() -> None:
    whole = b"\xff\xda" + struct.pack(">HB", 12, 3) + bytes([1, 0, 2, 0, 3, 0, 0, 63, 0]) + b"\0"
    data = scanned("separate components", 1)
    with pytest.raises(InvalidImage, match="in 202 scans"):
        decode(data[:-2] + whole + data[data.index(b"\xff\xda") : -2] * 200 + data[-2:], LIMITS)


def test_the_larger_a_picture_the_fewer_scans_it_may_come_in() -> None:
    data, pixels = scanned("progressive", 30), 640 * 480
    with pytest.raises(InvalidImage, match=r"at most 20 are accepted of one of 0\.3 megapixels"):
        decode(data, ImageLimits(2**20, pixels))
    assert [most_scans(pixels, 2 * pixels), most_scans(pixels, 10 * pixels)] == [40, 100]
    usual = encoded(Image.new("RGB", (640, 480)), "JPEG", progressive=True)
    assert decode(usual, ImageLimits(2**20, pixels)).width == 640


def test_scans_are_counted_to_the_end_of_the_picture() -> None:
    behind = b"\0\2" + b"\xff\xda\0\2" * 200
    for options in ({}, {"progressive": True}):
        data = encoded(picture(), "JPEG", exif=b"Exif\0\0" + behind, **options)
        assert decode(data + behind, LIMITS).width == 64


def test_odd_files_leave_no_warnings_behind() -> None:
    """Which go to the log of the service in Pillow's words, and stay in memory."""
    odd = encoded(picture(), "JPEG", exif=b"Exif\0\0II" + struct.pack("<HIHHHII", 42, 8, 1, 274, 3, 2**31, 6))
    done = subprocess.run(
        [sys.executable, "-c", f"from {decode.__module__} import *; decode({odd!r}, ImageLimits(2**20, 2**20))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
