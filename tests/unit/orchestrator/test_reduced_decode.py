"""Photos that are much larger than the models need: decoded small, and nothing that the models see is lost."""

from io import BytesIO

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from semblance.orchestrator.box import Box
from semblance.orchestrator.crop import crop
from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.decode import ImageLimits, decode
from semblance.orchestrator.pipeline import Pipeline, Selection, Stopwatch
from semblance.orchestrator.testing import FakeInferenceServer, MemoryVectorIndex, block_means, example_release
from semblance.orchestrator.threads import Threads

LIMITS = ImageLimits(max_bytes=2**24, max_pixels=50_000_000)
RELEASE = example_release()
WIDTH, HEIGHT = 2800, 2100


def scene(width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """Texture at every scale, weaker the finer it is, as in photographs; and a small thing that is all detail."""
    rng = np.random.default_rng(3)
    pixels = np.zeros((height, width, 3), np.float32)
    for blobs, contrast in ((7, 0.9), (40, 0.5), (200, 0.25), (1000, 0.12)):
        noise = rng.integers(-128, 128, (blobs * height // width, blobs, 3)).astype(np.float32)
        pixels += contrast * cv2.resize(noise, (width, height))
    fine = rng.integers(-90, 90, (180 // 2, 190 // 2, 3)).astype(np.float32)
    pixels[900:1080, 1200:1390] += cv2.resize(fine, (190, 180)) if width == WIDTH else 0
    return np.clip(pixels + 128, 0, 255).astype(np.uint8)


def jpeg(pixels: NDArray[np.uint8], orientation: int = 1) -> bytes:
    buffer, exif = BytesIO(), Image.Exif()
    exif[274] = orientation
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92, exif=exif)
    return buffer.getvalue()


PHOTO = jpeg(scene())


@pytest.mark.parametrize(
    ("enough", "side"), [(None, 2800), (2800, 2800), (1401, 2800), (1400, 1400), (701, 1400), (700, 700), (1, 350)]
)
def test_keeps_enough_pixels_and_the_size_of_the_original(enough: int | None, side: int) -> None:
    photo = decode(PHOTO, LIMITS, enough)
    assert (photo.width, photo.height) == (WIDTH, HEIGHT)
    assert photo.pixels.shape == (side * 3 // 4 if side != 350 else 263, side, 3)


def test_odd_sizes_are_rounded_up() -> None:
    photo = decode(jpeg(scene(1283, 961)), LIMITS, 300)
    assert (photo.width, photo.height, *photo.pixels.shape) == (1283, 961, 241, 321, 3)


def test_what_lies_on_its_side_is_upright_when_reduced() -> None:
    photo = decode(jpeg(scene(), orientation=6), LIMITS, 700)
    assert (photo.width, photo.height, *photo.pixels.shape) == (HEIGHT, WIDTH, 700, 525, 3)
    lying = decode(PHOTO, LIMITS, 700).pixels
    np.testing.assert_array_equal(photo.pixels, np.rot90(lying, -1))


class Recording(FakeInferenceServer):
    """Keeps what the models were shown."""

    def __init__(self, *boxes: Box) -> None:
        super().__init__(RELEASE.detector, RELEASE.embedder)
        scale = 640 / WIDTH
        top = (640 - HEIGHT * scale) / 2
        rows = [(b.x1 * scale, b.y1 * scale + top, b.x2 * scale, b.y2 * scale + top, 0.9, 0) for b in boxes]
        self.detections = np.array(rows, np.float32)
        self.shown: dict[str, NDArray[np.uint8]] = {}

    async def infer(self, model: object, batch: NDArray[np.uint8], timeout: float) -> NDArray[np.float32]:
        self.shown[model.name] = batch.copy()  # type: ignore[attr-defined]
        return await super().infer(model, batch, timeout)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "boxes",
    [
        [Box(200, 300, 1500, 1700), Box(1000, 100, 2700, 800)],
        [Box(400, 400, 900, 860)],
        # The small thing: smaller than a crop even in the original, let alone in the reduced photo.
        [Box(1200, 900, 1390, 1080), Box(200, 300, 1500, 1700)],
    ],
    ids=["large", "medium", "small"],
)
async def test_crops_are_those_of_the_whole_photo_and_boxes_are_in_its_pixels(boxes: list[Box]) -> None:
    models, threads = Recording(*boxes), Threads(1)
    pipeline = Pipeline(models, MemoryVectorIndex(), threads, LIMITS)
    description = await pipeline.describe(PHOTO, Selection(), RELEASE, Deadline.after(60), Stopwatch())
    threads.close()

    assert (description.width, description.height) == (WIDTH, HEIGHT)
    for region, box in zip(description.regions, boxes, strict=True):
        np.testing.assert_allclose(
            [region.box.x1, region.box.y1, region.box.x2, region.box.y2], [box.x1, box.y1, box.x2, box.y2], atol=0.5
        )
    whole = np.empty_like(models.shown["embedder"])
    crop(decode(PHOTO, LIMITS), [region.box for region in description.regions], list(whole), 114)
    difference = np.abs(models.shown["embedder"].astype(int) - whole)
    assert difference.mean() < 1.5
    for served, wanted in zip(models.shown["embedder"], whole, strict=True):
        assert block_means(served, 768) @ block_means(wanted, 768) > 0.9995
