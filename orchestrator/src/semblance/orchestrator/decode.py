"""Step 1: the bytes of a file become upright RGB pixels.

Accepted are JPEG, PNG and WebP in every mode that they have: grey, palette, 16-bit, CMYK, alpha (laid on white). Of
an animation the first frame counts. Size is judged from the header, before anything is decoded.
"""

import warnings
from dataclasses import dataclass
from io import BytesIO

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image

from semblance.orchestrator.errors import InvalidImage
from semblance.orchestrator.scans import most_scans, scans

FORMATS = ("JPEG", "PNG", "WEBP")
# Several pictures in one JPEG file, as some phones write them, are a format of their own to Pillow; the first counts.
JPEG = ("JPEG", "MPO")

# What libjpeg-turbo decodes a JPEG at with less work, as fractions of its size.
REDUCTIONS = (1, 2, 4, 8)
# The EXIF orientations that swap width and height.
SIDEWAYS = range(5, 9)

# Pillow warns of odd files, in words that quote them: nobody reads that, and Python would remember each text.
warnings.filterwarnings("ignore", module=r"PIL\.")
# The limit is ours, checked from the header below; Pillow's own would only warn.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, slots=True)
class ImageLimits:
    max_bytes: int
    max_pixels: int


@dataclass(frozen=True, slots=True)
class Photo:
    """pixels: uint8 [height, width, 3], RGB, upright, perhaps reduced; `width` and `height` are the original's."""

    pixels: NDArray[np.uint8]
    width: int
    height: int


def decode(data: bytes, limits: ImageLimits, enough: int | None = None) -> Photo:
    """A JPEG whose longer side has more than `enough` pixels may be decoded at 1/2, 1/4 or 1/8, as long as it keeps
    those: libjpeg-turbo then leaves out most of the work behind the entropy decoding.

    Raises InvalidImage, and nothing else, whatever the bytes are.
    """
    if not data:
        raise InvalidImage("the image is empty; send the bytes of a JPEG, PNG or WebP file")
    if len(data) > limits.max_bytes:
        raise InvalidImage(
            f"the image has {len(data):,} bytes, and at most {limits.max_bytes:,} are accepted; "
            "send it smaller or compress it more"
        )
    # Decoders fed with broken files raise whatever they happen to stumble over.
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except Exception:
        raise InvalidImage("the bytes are not a JPEG, PNG or WebP image, or stop within its header") from None
    width, height = image.size
    if width * height > limits.max_pixels:
        raise InvalidImage(
            f"the image has {width} × {height} = {width * height / 1e6:.1f} megapixels, and at most "
            f"{limits.max_pixels / 1e6:.1f} are accepted; send it smaller"
        )
    most = most_scans(width * height, limits.max_pixels)
    if image.format in JPEG and (count := scans(data, len(image.getbands()))) > most:
        raise InvalidImage(
            f"the image comes in {count:,} scans, and at most {most} are accepted of one of "
            f"{width * height / 1e6:.1f} megapixels; save it anew"
        )
    turned = orientation(image)
    try:
        pixels = upright(_rgb(image, data, enough), turned)
    except Exception as error:
        raise InvalidImage(f"the {image.format} image is damaged or truncated: {error}") from None
    if turned in SIDEWAYS:
        width, height = height, width
    return Photo(np.ascontiguousarray(pixels), width, height)


def _rgb(image: Image.Image, data: bytes, enough: int | None) -> NDArray[np.uint8]:
    """The file's pixels as stored, uint8 [height, width, 3]."""
    # Pillow's decoders are right for everything, and the only ones for rare modes; these two are faster, and do not
    # hold up the whole process while they work, as Pillow's WebP decoder does.
    if image.format in JPEG and image.mode in ("RGB", "L"):
        return _jpeg(data, image.size, enough)
    if image.format == "WEBP" and image.mode == "RGB" and not getattr(image, "is_animated", False):
        return _webp(data)
    if image.mode.startswith("I"):
        # 16-bit grey: Pillow's own conversion would clip it instead of scaling it.
        grey = (np.asarray(image, dtype=np.uint32) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def _jpeg(data: bytes, size: tuple[int, int], enough: int | None) -> NDArray[np.uint8]:
    reduction = 1 if enough is None else max(each for each in REDUCTIONS if each == 1 or max(size) >= each * enough)
    # The least width and height pick the scale; the others that libjpeg-turbo has, such as 5/8, are slower.
    width, height = (-(-side // reduction) for side in size)
    return simplejpeg.decode_jpeg(data, colorspace="RGB", min_width=width, min_height=height)  # type: ignore[no-any-return]


def _webp(data: bytes) -> NDArray[np.uint8]:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise ValueError("its pixels can't be read")
    return pixels.astype(np.uint8, copy=False)


def orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8 (TIFF 6.0, tag 274); 1 where there is none or it can't be read."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1
    return value if value in range(1, 9) else 1


def upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undoes what an EXIF orientation says was done to the picture."""
    match orientation:
        case 2:
            return pixels[:, ::-1]
        case 3:
            return pixels[::-1, ::-1]
        case 4:
            return pixels[::-1]
        case 5:
            return cv2.transpose(pixels).astype(np.uint8, copy=False)
        case 6:
            return cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE).astype(np.uint8, copy=False)
        case 7:
            return cv2.transpose(pixels)[::-1, ::-1].astype(np.uint8, copy=False)
        case 8:
            return cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE).astype(np.uint8, copy=False)
        case _:
            return pixels
