"""A photo's file: whether it can be read, its size upright, and what it looks like."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

FORMATS = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp"}
"""What the service takes, by Pillow's names; MPO is the JPEG of cameras that add a second picture."""

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})

HASH_SIDE = 16
"""Frequencies a side of the perceptual hash, which is thus 256 bits."""


class PhotoError(Exception):
    """A file is no photo that can be used; the text says why."""


@dataclass(frozen=True, eq=False)
class Photo:
    """A file that decodes.

    Attributes:
        width: of the upright photo (its EXIF orientation applied), in pixels, as `height`.
        suffix: of the format that it really has.
        look: uint8 [32], the perceptual hash's 256 bits.
    """

    path: Path
    sha256: str
    width: int
    height: int
    suffix: str
    look: NDArray[np.uint8]


def read(path: Path) -> Photo:
    """Decodes all of a file.

    Raises:
        PhotoError: It can't be read or decoded, or is of a format that the service does not take.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PhotoError(f"{path} can't be read: {error.strerror}") from error
    try:
        with warnings.catch_warnings():
            # Of odd metadata; what matters raises.
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(data)) as image:
                kind = image.format or ""
                if kind in FORMATS:
                    upright = ImageOps.exif_transpose(image).convert("RGB")
    # Pillow raises whatever its parsers do: OSError, ValueError, SyntaxError, struct.error, DecompressionBombError.
    except Exception as error:
        raise PhotoError(f"{path} can't be decoded: {error}") from error
    if kind not in FORMATS:
        raise PhotoError(f"{path} is {kind}; JPEG, PNG and WebP are taken")
    look = imagehash.phash(upright, hash_size=HASH_SIDE)
    packed = np.packbits(look.hash.ravel())
    return Photo(path, hashlib.sha256(data).hexdigest(), upright.width, upright.height, FORMATS[kind], packed)
