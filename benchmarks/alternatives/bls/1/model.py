"""The chain inside Triton, as a Python model that calls the other two (business logic scripting)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from chain import SEARCH, Floats, Pixels, answer
from pymilvus import MilvusClient


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        parameters = json.loads(args["model_config"])["parameters"]
        self._collection = parameters["collection"]["string_value"]
        self._milvus = MilvusClient(parameters["milvus_uri"]["string_value"], timeout=10.0)

    async def execute(self, requests: list[Any]) -> list[Any]:
        return await asyncio.gather(*(self._respond(request) for request in requests))

    async def _respond(self, request: Any) -> Any:
        image = pb_utils.get_input_tensor_by_name(request, "image").as_numpy().item()
        found = json.dumps(await answer(image, self._detect, self._embed, self._search))
        return pb_utils.InferenceResponse([pb_utils.Tensor("objects", np.array([[found]], dtype=np.object_))])

    async def _detect(self, batch: Pixels) -> Floats:
        return await infer("detector", "image", batch, "detections")

    async def _embed(self, batch: Pixels) -> Floats:
        return await infer("embedder", "crop", batch, "embedding")

    async def _search(self, vectors: Floats) -> list[list[dict[str, Any]]]:
        # Triton runs each batch in an event loop of its own, which no AsyncMilvusClient would outlive.
        return await asyncio.to_thread(self._milvus.search, self._collection, data=list(vectors), **SEARCH)


async def infer(model: str, source: str, batch: Pixels, result: str) -> Floats:
    request = pb_utils.InferenceRequest(
        model_name=model, inputs=[pb_utils.Tensor(source, batch)], requested_output_names=[result]
    )
    response = await request.async_exec()
    if response.has_error():
        raise pb_utils.TritonModelException(response.error().message())
    outputs: Floats = pb_utils.get_output_tensor_by_name(response, result).as_numpy()
    return outputs
