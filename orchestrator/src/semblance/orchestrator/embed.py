"""Step 4: each crop becomes a vector."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
from numpy.typing import NDArray

from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.ports import Batch, InferenceServer
from semblance.orchestrator.release import ModelVersion


@contextmanager
def batches(models: InferenceServer, embedder: ModelVersion, crops: int) -> Iterator[list[Batch]]:
    """Room for all crops of an image: one batch, unless they are more than the model takes at once."""
    most = embedder.max_batch_size
    with ExitStack() as stack:
        yield [stack.enter_context(models.batch(embedder, min(most, crops - start))) for start in range(0, crops, most)]


async def embed(crops: Sequence[Batch], deadline: Deadline) -> NDArray[np.float32]:
    """float32 [N, dimension], L2-normalised: a vector for each crop of all batches."""
    timeout = deadline.remaining()
    if len(crops) == 1:
        return await crops[0].infer(timeout)
    try:
        async with asyncio.TaskGroup() as group:
            answers = [group.create_task(batch.infer(timeout)) for batch in crops]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return np.concatenate([answer.result() for answer in answers])
