"""What a camera and a lamp do to a picture: exposure, cast, falling light, blur, noise, compression."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from demo.drawing.texture import noise


@dataclass(frozen=True, slots=True)
class Light:
    """How rough the light and the camera are; every figure is the widest that is drawn."""

    gain: tuple[float, float]
    cast: float
    fall: float
    shadow: float
    blur: float
    grain: float
    quality: tuple[int, int]


STUDIO = Light(gain=(0.95, 1.05), cast=0.02, fall=0.06, shadow=0.0, blur=0.3, grain=1.0, quality=(90, 96))
ROOM = Light(gain=(0.65, 1.25), cast=0.1, fall=0.3, shadow=0.4, blur=1.1, grain=9.0, quality=(60, 95))


def expose(
    rng: np.random.Generator, picture: NDArray[np.float32], light: Light, scale: float | None = None
) -> NDArray[np.uint8]:
    """The picture (float32 [H,W,3], 0 to 255) as a camera sees it: uint8 [H,W,3].

    `scale` is its number of pixels to one of a frame 640 wide, where the picture is only a part of the frame.
    """
    height, width = picture.shape[:2]
    scale = max(height, width) / 640 if scale is None else scale
    picture *= (rng.uniform(*light.gain) * rng.uniform(1 - light.cast, 1 + light.cast, 3)).astype(np.float32)
    picture *= _falling(rng, height, width, light)[..., None]
    sigma = rng.uniform(0, light.blur) * scale
    if sigma > 0.25:
        picture = cv2.GaussianBlur(picture, (0, 0), sigma).astype(np.float32)
    grain = np.float32(rng.uniform(0, light.grain))
    picture += grain * rng.standard_normal((height, width, 1), np.float32)
    return np.clip(picture, 0, 255).astype(np.uint8)


def compressed(rng: np.random.Generator, picture: NDArray[np.uint8], light: Light) -> bytes:
    """The picture as a JPEG."""
    quality = int(rng.integers(light.quality[0], light.quality[1] + 1))
    done, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"a picture of shape {picture.shape} could not be compressed")
    return data.tobytes()


def _falling(rng: np.random.Generator, height: int, width: int, light: Light) -> NDArray[np.float32]:
    """How bright each pixel is lit: float32 [H,W], about 1."""
    corners = rng.uniform(1 - light.fall, 1 + light.fall, (2, 2)).astype(np.float32)
    field = np.asarray(cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    if light.shadow and rng.random() < 0.4:
        blotches = noise(rng, height, width, (2, 3), 2)
        field *= (1 - rng.uniform(0, light.shadow) / (1 + np.exp(-5 * blotches))).astype(np.float32)
    return field
