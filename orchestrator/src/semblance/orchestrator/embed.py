"""Step 4: each crop becomes a vector."""

import asyncio

import numpy as np
from numpy.typing import NDArray

from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.ports import InferenceServer
from semblance.orchestrator.release import ModelVersion


async def embed(
    crops: NDArray[np.uint8], embedder: ModelVersion, models: InferenceServer, deadline: Deadline
) -> NDArray[np.float32]:
    """crops: uint8 [N, size, size, 3]; returns float32 [N, dimension], L2-normalised.

    One request for all crops of an image, unless they are more than the model takes at once.
    """
    most = embedder.max_batch_size
    chunks = [crops[start : start + most] for start in range(0, len(crops), most)]
    timeout = deadline.remaining()
    return np.concatenate(await asyncio.gather(*(models.infer(embedder, chunk, timeout) for chunk in chunks)))
