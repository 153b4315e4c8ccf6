"""New reference images: the object of a confirmed query becomes an image of the item that it is."""

import hashlib

import cv2
import numpy as np
from numpy.typing import NDArray

from semblance.orchestrator.box import Box
from semblance.orchestrator.catalog import Catalog, Outcome
from semblance.orchestrator.crop import cut
from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.decode import ImageLimits, decode
from semblance.orchestrator.errors import WrongState
from semblance.orchestrator.feedback import Choice, Feedback
from semblance.orchestrator.ports import FeedbackStore, ImageStore
from semblance.orchestrator.release import Release
from semblance.orchestrator.threads import Threads

# The same bytes for the same crop, so that what a killed call put is known when it is done again; PNG keeps all of the
# photo's detail, and compression 6 is libpng's own default.
PNG = [cv2.IMWRITE_PNG_COMPRESSION, 6]

# The longer side of a reference image, in pixels: one in which detector and embedder see all that they do in a larger.
LONGEST = 2048

# Verdicts about a photo that are read at once.
BATCH = 500


class References:
    def __init__(
        self, feedback: FeedbackStore, images: ImageStore, catalog: Catalog, threads: Threads, limits: ImageLimits
    ) -> None:
        self._feedback = feedback
        self._images = images
        self._catalog = catalog
        self._threads = threads
        self._limits = limits

    async def add(self, feedback_id: str, release: Release, deadline: Deadline) -> tuple[str, str, bool]:
        """Puts the crop into the catalogue, and returns the item's id, the image's, and whether it was added now.

        What was added once is not added again, even where somebody has taken it out of the item since.
        Raises NotFound where there is no such feedback, photo or item, WrongState where it confirms no item, was
        taken back, or the item has no room, and as `Catalog.put` does.
        """
        feedback = await self._feedback.get(feedback_id)
        if not feedback.true_item:
            raise WrongState(
                f"feedback {feedback_id!r} does not say which item the object is; only the verdicts right, item, and "
                "missed with an item do"
            )
        if feedback.reference_id:
            return feedback.true_item, feedback.reference_id, False
        await self._check_stands(feedback)
        photo = await self._images.read(feedback.image_id)
        picture = await self._threads.run(self._crop, photo, feedback.true_box)
        image_id = hashlib.sha256(picture).hexdigest()
        # First, so that one which a failure or a kill leaves without its item is removed in time, as a photo is.
        await self._feedback.discard_image(image_id)
        outcome = await self._catalog.add_image(feedback.true_item, picture, release, deadline)
        await self._feedback.set_reference(feedback_id, image_id)
        return feedback.true_item, image_id, outcome is not Outcome.UNCHANGED

    async def _check_stands(self, feedback: Feedback) -> None:
        """Raises WrongState where a later verdict takes it back."""
        about, after = Choice(image_id=feedback.image_id), ("", "")
        while page := await self._feedback.by_image(about, after, BATCH):
            for later in page:
                if later.takes_back(feedback):
                    raise WrongState(
                        f"feedback {feedback.feedback_id!r} says that the object is {feedback.true_item!r}, and "
                        f"{later.feedback_id!r} later took that back: {later.verdict.kind} {later.verdict.item_id}"
                    )
            after = page[-1].image_id, page[-1].feedback_id

    def _crop(self, data: bytes, box: Box | None) -> bytes:
        """A PNG file, reduced as far as an image may have bytes."""
        photo = decode(data, self._limits)
        pixels = cut(photo, box or Box.whole(photo.width, photo.height))
        longest = LONGEST
        while len(file := png(reduced(pixels, longest))) > self._limits.max_bytes and longest > 1:
            longest //= 2
        return file


def reduced(pixels: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """uint8 [height, width, 3], its longer side `longest` pixels at most; each is the mean of those that it covers."""
    height, width = pixels.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """The file of uint8 [height, width, 3], RGB."""
    written, encoded = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), PNG)
    assert written
    return encoded.tobytes()
