"""`inference.GRPCInferenceService`: translates and calls."""

import asyncio
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any

from tritonclient.grpc import service_pb2
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceServicer

from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.errors import NotFound
from semblance.orchestrator.grpc_edge.boundary import Context, DeadlinePolicy
from semblance.orchestrator.grpc_edge.health import OVERALL, Health
from semblance.orchestrator.grpc_edge.kserve import signature, tensors
from semblance.orchestrator.grpc_edge.kserve.statistics import model_statistics
from semblance.orchestrator.grpc_edge.peer import caller
from semblance.orchestrator.grpc_edge.searcher import Searcher
from semblance.orchestrator.grpc_edge.status import fault
from semblance.orchestrator.grpc_edge.stream import Streams

EXTENSIONS = ("model_configuration", "statistics")


class InferenceService(GRPCInferenceServiceServicer):  # type: ignore[misc]
    """The methods that are not here, such as those for shared memory and model control, are UNIMPLEMENTED."""

    def __init__(
        self, searcher: Searcher, deadlines: DeadlinePolicy, health: Health, streams: Streams, window: int
    ) -> None:
        self._searcher = searcher
        self._deadlines = deadlines
        self._health = health
        self._streams = streams
        self._window = window

    async def ServerLive(self, request: Any, context: Context) -> service_pb2.ServerLiveResponse:  # noqa: N802
        return service_pb2.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Context) -> service_pb2.ServerReadyResponse:  # noqa: N802
        return service_pb2.ServerReadyResponse(ready=self._health.is_serving(OVERALL))

    async def ModelReady(self, request: Any, context: Context) -> service_pb2.ModelReadyResponse:  # noqa: N802
        _check_model(request.name, request.version)
        return service_pb2.ModelReadyResponse(ready=self._health.is_serving(OVERALL))

    async def ServerMetadata(self, request: Any, context: Context) -> service_pb2.ServerMetadataResponse:  # noqa: N802
        return service_pb2.ServerMetadataResponse(
            name="semblance", version=version("semblance-orchestrator"), extensions=EXTENSIONS
        )

    async def ModelMetadata(self, request: Any, context: Context) -> service_pb2.ModelMetadataResponse:  # noqa: N802
        _check_model(request.name, request.version)
        return signature.metadata()

    async def ModelConfig(self, request: Any, context: Context) -> service_pb2.ModelConfigResponse:  # noqa: N802
        if request.name in signature.STAGE_MODELS.values():
            return service_pb2.ModelConfigResponse(config=signature.stage_config(request.name))
        _check_model(request.name, request.version)
        return service_pb2.ModelConfigResponse(config=signature.config())

    async def ModelStatistics(self, request: Any, context: Context) -> service_pb2.ModelStatisticsResponse:  # noqa: N802
        """Of the one model that is named, or of all."""
        every = model_statistics(self._searcher.statistics)
        asked = [one for one in every if request.name in ("", one.name)]
        if not asked:
            _check_model(request.name, request.version)
        return service_pb2.ModelStatisticsResponse(model_stats=asked)

    async def ModelInfer(self, request: service_pb2.ModelInferRequest, context: Context) -> Any:  # noqa: N802
        return await self._infer(request, caller(context), self._deadlines.of_call(context))

    async def ModelStreamInfer(  # noqa: N802
        self, request_iterator: AsyncIterator[service_pb2.ModelInferRequest], context: Context
    ) -> None:
        """Answers in the order of the requests, as Triton does for models that answer each request once.

        A coroutine that writes, which grpc.aio takes beside the generator of the generated signature.
        """
        who = caller(context)
        newest = asyncio.Event()
        newest.set()

        async def answer(request: service_pb2.ModelInferRequest) -> service_pb2.ModelStreamInferResponse:
            nonlocal newest
            before, mine = newest, asyncio.Event()
            newest = mine
            try:
                deadline = self._deadlines.of_call(context, self._deadlines.default)
                response = service_pb2.ModelStreamInferResponse(
                    infer_response=await self._infer(request, who, deadline)
                )
            except Exception as error:
                failure = fault(error)
                response = service_pb2.ModelStreamInferResponse(
                    error_message=f"{failure.reason}: {failure.message}",
                    infer_response=service_pb2.ModelInferResponse(model_name=request.model_name, id=request.id),
                )
            await before.wait()
            # The next one is going to queue for the stream's lock behind this one.
            mine.set()
            return response

        await self._streams.converse(request_iterator, answer, self._window, context)

    async def _infer(
        self, request: service_pb2.ModelInferRequest, who: str, deadline: Deadline
    ) -> service_pb2.ModelInferResponse:
        _check_model(request.model_name, request.model_version)
        query, outputs = tensors.query(request), tensors.wanted(request)
        return await self._searcher.search(
            query, who, deadline, lambda answer: tensors.response(request, outputs, query.top_k, answer)
        )


def _check_model(name: str, version: str) -> None:
    """Raises NotFound unless it is the model, in its version or in any."""
    if name != signature.MODEL or version not in ("", signature.VERSION):
        named = f"{name!r} version {version}" if version else repr(name)
        raise NotFound(f"there is no model {named}; this service has {signature.MODEL!r} version {signature.VERSION}")
