"""How good a picture of an object is, measured from its pixels: sharpness, light and size.

Sharpness is the variance of the Laplacian of the luma: Pech-Pacheco et al., "Diatom autofocusing in brightfield
microscopy: a comparative study", ICPR 2000. It grows with the scale of a picture's detail and, as contrast does, with
the square of its light: so it is measured at one scale, and given for one light, or every dark picture would be a
blurred one. Luma is ITU-R BT.601's, as OpenCV converts to grey.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2

from semblance.orchestrator.box import Box
from semblance.orchestrator.crop import cut
from semblance.orchestrator.decode import Photo

# The longer side that an object is reduced to before its sharpness is measured, in pixels; it is never enlarged.
SIDE = 256
# The mean luma that sharpness is given for.
LIGHT = 128.0

# Below them a condition is bad; `docs/feedback.md` shows what they do to the demo's scenes.
DARK = 60.0
BLURRED = 100.0
SMALL = 64.0


@dataclass(frozen=True, slots=True)
class Condition:
    """`sharpness`: variance of the Laplacian, as it were at a mean luma of LIGHT; `light`: mean luma, 0 to 255; `size`:
    the shorter side of the object in pixels of the photo."""

    sharpness: float
    light: float
    size: float


GOOD = "good"
MEANINGS: Mapping[str, str] = {
    "dark": f"mean luma below {DARK:g} of 255",
    "blurred": f"variance of the Laplacian below {BLURRED:g}, at {SIDE} pixels and a mean luma of {LIGHT:g}",
    "small": f"shorter side of the object below {SMALL:g} pixels",
    GOOD: "none of these",
}
"""The bins of a report; a picture is in each that fits, and in the last where no other one does."""


def bins(dark: bool, blurred: bool, small: bool) -> list[str]:
    found = [name for name, is_so in (("dark", dark), ("blurred", blurred), ("small", small)) if is_so]
    return found or [GOOD]


def condition(photo: Photo, box: Box | None) -> Condition:
    """Of the object in `box`, which lies inside the photo, or of the whole photo."""
    box = box or Box.whole(photo.width, photo.height)
    luma = cv2.cvtColor(cut(photo, box), cv2.COLOR_RGB2GRAY)
    height, width = luma.shape
    scale = SIDE / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        luma = cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
    light = float(luma.mean())
    return Condition(
        # All black has no detail, whatever it is given for.
        sharpness=float(cv2.Laplacian(luma, cv2.CV_64F).var()) * (LIGHT / max(light, 1.0)) ** 2,
        light=light,
        size=min(box.x2 - box.x1, box.y2 - box.y1),
    )
