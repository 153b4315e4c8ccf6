"""The chain as BentoML services: `bentoml serve bentoml_service:Search --timeout-keep-alive 1800`.

DETECTOR and EMBEDDER name the model files, MILVUS_URI and COLLECTION the index.
"""

from __future__ import annotations

import os
from typing import Annotated, Any

import bentoml
import numpy as np
from bentoml.validators import ContentType
from chain import SEARCH, Floats, answer
from numpy.typing import NDArray
from pymilvus import AsyncMilvusClient
from session import Session

CORES = len(os.sched_getaffinity(0))
QUIET: Any = {"logging": {"access": {"enabled": False}}, "metrics": {"enabled": False}}
# By default the connection to a model is closed every 100 requests, with those in flight on it, which then fail.
MODEL: Any = {"workers": 1, "threads": 1, "runner_connection": {"max_requests": 10**9, "max_age": 1e6}, **QUIET}
Batch = NDArray[np.uint8]


@bentoml.service(**MODEL)
class Detector:
    def __init__(self) -> None:
        self._session = Session(os.environ["DETECTOR"])
        self._session.warm_up(8)

    @bentoml.api(batchable=True, max_batch_size=8, max_latency_ms=60_000)
    def detect(self, batch: Batch) -> NDArray[np.float32]:
        return self._session.run(batch)


@bentoml.service(**MODEL)
class Embedder:
    def __init__(self) -> None:
        self._session = Session(os.environ["EMBEDDER"])
        self._session.warm_up(32)

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=60_000)
    def embed(self, batch: Batch) -> NDArray[np.float32]:
        return self._session.run(batch)


@bentoml.service(workers=CORES, **QUIET)
class Search:
    _detector = bentoml.depends(Detector)
    _embedder = bentoml.depends(Embedder)

    def __init__(self) -> None:
        self._milvus: AsyncMilvusClient | None = None

    @bentoml.api
    async def search(self, image: Annotated[bytes, ContentType("image/jpeg")], /) -> list[dict[str, Any]]:
        return await answer(image, self._detector.to_async.detect, self._embedder.to_async.embed, self._nearest)

    async def _nearest(self, vectors: Floats) -> Any:
        if self._milvus is None:
            # Its channel belongs to the loop that it is made in.
            self._milvus = AsyncMilvusClient(os.environ["MILVUS_URI"], timeout=10.0)
        return await self._milvus.search(os.environ["COLLECTION"], data=list(vectors), **SEARCH)
