"""One inference, as the service does it."""

import numpy as np
from numpy.typing import NDArray

from semblance.orchestrator.ports import InferenceServer
from semblance.orchestrator.release import ModelVersion


async def infer(
    models: InferenceServer, model: ModelVersion, pixels: NDArray[np.uint8], timeout: float
) -> NDArray[np.float32]:
    with models.batch(model, len(pixels)) as batch:
        batch.pixels[:] = pixels
        return await batch.infer(timeout)
