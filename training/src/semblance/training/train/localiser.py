"""Where in its reference images an item is: an exported detector, asked as the service asks it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from semblance.export import manifest, session
from semblance.export.contract import DETECTOR, IMAGE_SIZE
from semblance.export.errors import ExportError
from semblance.orchestrator.box import Box
from semblance.orchestrator.decode import Photo
from semblance.orchestrator.detect import DEFAULT_MIN_SCORE
from semblance.orchestrator.letterbox import letterbox
from semblance.training.train.errors import TrainingError


class Localiser:
    """Gives the box of the most certain detection of a photo."""

    def __init__(self, folder: Path) -> None:
        """Raises TrainingError: the folder holds no exported detector."""
        try:
            described = manifest.verify(folder)
            if described.model != DETECTOR.model:
                raise TrainingError(f"{folder} holds the {described.model}; --detector is the folder of a detector")
            self._session = session.open_session(onnx.load(folder / described.model_file.name))
        except (ExportError, OSError) as error:
            raise TrainingError(f"{folder} is no exported detector: {error}") from error
        self._pad_value = described.pad_value

    def box(self, photo: Photo) -> Box | None:
        """In pixels of the upright photo; None where nothing is detected, and the service takes the whole."""
        pixels = np.empty((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        placed = letterbox(photo.pixels, pixels, self._pad_value)
        best = session.answer(self._session, pixels[None])[0, 0]
        if best[4] < DEFAULT_MIN_SCORE:
            return None
        box = Box(*map(float, placed.to_picture(best[None, :4], photo.width, photo.height)[0]))
        box = box.clipped(photo.width, photo.height)
        return box if box.area > 0 else None
