"""What the Triton adapter makes of answers that a real Triton gives only when something is broken."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest
from grpc import StatusCode
from tritonclient.grpc import service_pb2, service_pb2_grpc

from semblance.orchestrator.adapters.transport import Mode
from semblance.orchestrator.adapters.triton import TritonServer
from semblance.orchestrator.errors import (
    ContractMismatch,
    DeadlineExceeded,
    DependencyUnavailable,
    Overloaded,
    SemblanceError,
)
from semblance.orchestrator.release import ModelVersion, Tensor
from tests.inference import infer

MODEL = ModelVersion("embedder", 3, "", Tensor("crop", "UINT8", (4, 4, 3)), Tensor("embedding", "FP32", (5,)), 8, 114)
BATCH = np.zeros((2, 4, 4, 3), np.uint8)


class Broken(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Answers every inference with what a test puts here: a message, or a status and its text."""

    def __init__(self) -> None:
        self.answer: service_pb2.ModelInferResponse | tuple[StatusCode, str]

    async def ModelInfer(  # noqa: N802
        self, request: service_pb2.ModelInferRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> service_pb2.ModelInferResponse:
        if isinstance(self.answer, tuple):
            await context.abort(*self.answer)
        return self.answer

    async def RepositoryModelLoad(  # noqa: N802
        self, request: service_pb2.RepositoryModelLoadRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        assert isinstance(self.answer, tuple)
        await context.abort(*self.answer)

    async def RepositoryModelUnload(  # noqa: N802
        self, request: service_pb2.RepositoryModelUnloadRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        assert isinstance(self.answer, tuple)
        await context.abort(*self.answer)


@pytest.fixture
async def broken() -> AsyncIterator[tuple[Broken, TritonServer]]:
    servicer = Broken()
    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    adapter = TritonServer(f"127.0.0.1:{port}", Mode.BYTES, slots=0)
    yield servicer, adapter
    await adapter.close()
    await server.stop(None)


def answer(
    name: str = "embedding", shape: tuple[int, ...] = (2, 5), kind: str = "FP32", size: int = 40
) -> service_pb2.ModelInferResponse:
    output = service_pb2.ModelInferResponse.InferOutputTensor(name=name, datatype=kind, shape=shape)
    return service_pb2.ModelInferResponse(outputs=[output], raw_output_contents=[bytes(size)])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (answer(size=0), r"embedding FP32 \[2, 5\] in 0 bytes instead of 40.*numpy 2"),
        (answer(size=36), "in 36 bytes instead of 40"),
        (answer(shape=(1, 5)), r"\[1, 5\] instead of embedding FP32 \[2, 5\]"),
        (answer(shape=(2, 7), size=56), r"\[2, 7\] instead of"),
        (answer(name="other"), "other FP32"),
        (answer(kind="FP16", size=20), "embedding FP16"),
        (service_pb2.ModelInferResponse(), "0 outputs instead of one"),
    ],
)
async def test_an_output_that_is_not_the_contracts_is_refused(
    broken: tuple[Broken, TritonServer], given: service_pb2.ModelInferResponse, message: str
) -> None:
    servicer, adapter = broken
    servicer.answer = given
    with pytest.raises(ContractMismatch, match=message):
        await infer(adapter, MODEL, BATCH, 5)


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (StatusCode.UNAVAILABLE, "[request id: 1] Exceeds maximum queue size", Overloaded),
        (StatusCode.RESOURCE_EXHAUSTED, "too much", Overloaded),
        (StatusCode.UNAVAILABLE, "Request timeout expired", DeadlineExceeded),
        (
            StatusCode.UNAVAILABLE,
            "Request for unknown model: 'embedder' version 3 is not at ready state",
            DependencyUnavailable,
        ),
        (StatusCode.UNAVAILABLE, "Socket closed", DependencyUnavailable),
        (StatusCode.NOT_FOUND, "Request for unknown model: 'embedder' is not found", ContractMismatch),
        (StatusCode.INVALID_ARGUMENT, "unexpected shape for input 'crop'", ContractMismatch),
        (StatusCode.INTERNAL, "onnxruntime: out of memory", DependencyUnavailable),
    ],
)
async def test_what_triton_says_becomes_an_error_of_ours(
    broken: tuple[Broken, TritonServer], code: StatusCode, text: str, expected: type[SemblanceError]
) -> None:
    servicer, adapter = broken
    servicer.answer = (code, text)
    with pytest.raises(expected, match=r"Triton at 127\.0\.0\.1"):
        await infer(adapter, MODEL, BATCH, 5)


@pytest.mark.parametrize("versions", [(1, 2), ()], ids=["loaded", "unloaded"])
@pytest.mark.parametrize(
    ("status", "text", "error", "message"),
    [
        (
            StatusCode.UNAVAILABLE,
            "explicit model load / unload is not allowed if polling is enabled",
            DependencyUnavailable,
            "start it with --model-control-mode=explicit",
        ),
        (StatusCode.UNAVAILABLE, "Socket closed", DependencyUnavailable, "does not answer: Socket closed"),
        (
            StatusCode.INVALID_ARGUMENT,
            "load failed for model 'embedder'",
            ContractMismatch,
            "serve embedder: load failed",
        ),
        (
            StatusCode.INTERNAL,
            "failed to poll from model repository",
            ContractMismatch,
            "serve embedder: failed to poll",
        ),
    ],
)
async def test_why_a_model_is_not_loaded_is_told(
    broken: tuple[Broken, TritonServer],
    versions: tuple[int, ...],
    status: StatusCode,
    text: str,
    error: type[SemblanceError],
    message: str,
) -> None:
    servicer, models = broken
    servicer.answer = (status, text)
    with pytest.raises(error, match=message):
        await models.load("embedder", versions, "{}", 5)
