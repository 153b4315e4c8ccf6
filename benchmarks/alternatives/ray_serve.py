"""The chain as Ray Serve deployments: `RAY_SERVE_THROUGHPUT_OPTIMIZED=1 RAY_worker_niceness=0 python ray_serve.py`.

DETECTOR and EMBEDDER name the model files, MILVUS_URI and COLLECTION the index, PORT is listened on.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import numpy as np
import ray
from chain import SEARCH, Floats, Pixels, answer
from pymilvus import AsyncMilvusClient
from ray import serve
from ray.serve.handle import DeploymentHandle
from session import Session
from starlette.requests import Request

CORES = len(os.sched_getaffinity(0))
DEPLOYMENT: Any = {"max_ongoing_requests": 64, "health_check_timeout_s": 600, "ray_actor_options": {"num_cpus": 0}}
# Not by default a third of the host's memory: hundreds of photos fit into this.
OBJECT_STORE_BYTES = 2**29


class Model:
    def __init__(self, path: str, largest: int) -> None:
        self._session = Session(path)
        self._session.warm_up(largest)

    async def run(self, requests: list[Pixels]) -> list[Floats]:
        """Rows of several requests as one batch."""
        rows = await asyncio.to_thread(self._session.run, np.concatenate(requests))
        return np.split(rows, np.cumsum([len(request) for request in requests])[:-1])


@serve.deployment(**DEPLOYMENT)
class Detector(Model):
    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.002)
    async def __call__(self, requests: list[Pixels]) -> list[Floats]:
        return await self.run(requests)


@serve.deployment(**DEPLOYMENT)
class Embedder(Model):
    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.002, batch_size_fn=lambda crops: sum(map(len, crops)))
    async def __call__(self, requests: list[Pixels]) -> list[Floats]:
        return await self.run(requests)


@serve.deployment(num_replicas=CORES, **DEPLOYMENT)
class Search:
    def __init__(self, detector: DeploymentHandle, embedder: DeploymentHandle) -> None:
        self._detector, self._embedder = detector, embedder
        self._milvus: AsyncMilvusClient | None = None

    async def __call__(self, request: Request) -> list[dict[str, Any]]:
        return await answer(await request.body(), self._detector.remote, self._embedder.remote, self._nearest)

    async def _nearest(self, vectors: Floats) -> Any:
        if self._milvus is None:
            # Its channel belongs to the loop that it is made in.
            self._milvus = AsyncMilvusClient(os.environ["MILVUS_URI"], timeout=10.0)
        return await self._milvus.search(os.environ["COLLECTION"], data=list(vectors), **SEARCH)


def main() -> None:
    ray.init(address="local", include_dashboard=False, log_to_driver=False, object_store_memory=OBJECT_STORE_BYTES)
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])})
    serve.run(Search.bind(Detector.bind(os.environ["DETECTOR"], 8), Embedder.bind(os.environ["EMBEDDER"], 32)))
    signal.pause()


if __name__ == "__main__":
    main()
