"""What becomes of inputs where Triton does not take this host's shared memory."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import grpc
import numpy as np
import pytest
from grpc import StatusCode
from tritonclient.grpc import service_pb2, service_pb2_grpc

from semblance.orchestrator.adapters import shared_memory, transport
from semblance.orchestrator.adapters.transport import Mode, Way
from semblance.orchestrator.adapters.triton import TritonServer
from semblance.orchestrator.errors import ContractMismatch, DependencyUnavailable, Overloaded
from semblance.orchestrator.release import ModelVersion, Tensor
from tests.inference import infer

MODEL = ModelVersion("embedder", 3, "", Tensor("crop", "UINT8", (4, 4, 3)), Tensor("embedding", "FP32", (5,)), 8, 114)
PATIENCE = 10
BATCH = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)


class Elsewhere(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """A Triton on another host: the regions are not there. It answers with the sums of what it was sent."""

    async def SystemSharedMemoryRegister(  # noqa: N802
        self, request: service_pb2.SystemSharedMemoryRegisterRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> service_pb2.SystemSharedMemoryRegisterResponse:
        await context.abort(StatusCode.INTERNAL, f"Unable to open shared memory region: '{request.key}'")

    async def ModelInfer(  # noqa: N802
        self, request: service_pb2.ModelInferRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> service_pb2.ModelInferResponse:
        [raw] = request.raw_input_contents
        sums = np.frombuffer(raw, np.uint8).reshape(request.inputs[0].shape).sum(axis=(1, 2, 3))
        output = np.repeat(sums[:, None], 5, axis=1).astype(np.float32)
        tensor = service_pb2.ModelInferResponse.InferOutputTensor(name="embedding", datatype="FP32", shape=(2, 5))
        return service_pb2.ModelInferResponse(outputs=[tensor], raw_output_contents=[output.tobytes()])


@pytest.fixture
async def elsewhere() -> AsyncIterator[str]:
    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Elsewhere(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.mark.parametrize("mode", [Mode.AUTO, Mode.BYTES])
async def test_a_triton_elsewhere_gets_bytes_which_is_said_and_counted(
    elsewhere: str, mode: Mode, caplog: pytest.LogCaptureFixture
) -> None:
    models = TritonServer(elsewhere, mode, slots=2)
    with caplog.at_level(logging.INFO):
        await models.transport.judged(PATIENCE)
    assert ("Unable to open shared memory region" in caplog.text) is (mode is Mode.AUTO)
    output = await infer(models, MODEL, BATCH, 5)
    assert output[:, 0].tolist() == BATCH.sum(axis=(1, 2, 3)).tolist()
    assert models.transport.inputs == {Way.BYTES: 1}
    assert not list(shared_memory.FOLDER.glob(f"{shared_memory.own_prefix()}*"))
    await models.close()


async def test_shared_memory_that_is_demanded_and_refused_is_an_error(elsewhere: str) -> None:
    models = TritonServer(elsewhere, Mode.SHARED_MEMORY, slots=2)
    with pytest.raises(ContractMismatch, match=r"does not take it: Unable to open.*SEMBLANCE_TRANSPORT"):
        await models.transport.judged(PATIENCE)
    await models.close()


async def test_memory_that_the_host_does_not_have_is_said(
    elsewhere: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(transport, "SLOT_BYTES", 2**50)
    models = TritonServer(elsewhere, Mode.AUTO, slots=2)
    async with asyncio.timeout(5):
        await models.transport.judged(PATIENCE)
    assert "/dev/shm has no room" in caplog.text
    await models.close()


class Busy(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """A Triton on this host whose queue is full."""

    async def SystemSharedMemoryRegister(  # noqa: N802
        self, request: service_pb2.SystemSharedMemoryRegisterRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> service_pb2.SystemSharedMemoryRegisterResponse:
        return service_pb2.SystemSharedMemoryRegisterResponse()

    async def ModelInfer(  # noqa: N802
        self, request: service_pb2.ModelInferRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> service_pb2.ModelInferResponse:
        await context.abort(StatusCode.UNAVAILABLE, "Exceeds maximum queue size")


async def test_a_refusal_is_an_answer_and_frees_the_slot() -> None:
    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Busy(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    models = TritonServer(f"127.0.0.1:{port}", Mode.AUTO, slots=1)
    await models.transport.judged(PATIENCE)
    for _ in range(3):
        with pytest.raises(Overloaded):
            await infer(models, MODEL, BATCH, 5)
    assert models.transport.inputs == {Way.SHARED_MEMORY: 3}
    await models.close()
    await server.stop(None)


class Failing(Busy):
    """Takes memory, and does not answer as it should."""

    def __init__(self, code: StatusCode) -> None:
        self._code = code

    async def ModelInfer(  # noqa: N802
        self, request: service_pb2.ModelInferRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> service_pb2.ModelInferResponse:
        if self._code is not StatusCode.OK:
            await context.abort(self._code, "it fails")
        # Outputs without a byte.
        tensor = service_pb2.ModelInferResponse.InferOutputTensor(name="embedding", datatype="FP32", shape=(1, 5))
        return service_pb2.ModelInferResponse(outputs=[tensor], raw_output_contents=[b""])


@pytest.mark.parametrize("beside_one_that_left", [False, True])
@pytest.mark.parametrize("code", [StatusCode.OK, StatusCode.UNAVAILABLE, StatusCode.NOT_FOUND])
async def test_what_fails_keeps_its_rows_for_another_server(code: StatusCode, beside_one_that_left: bool) -> None:
    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Failing(code), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    models = TritonServer(f"127.0.0.1:{port}", Mode.AUTO, slots=1)
    try:
        await models.transport.judged(PATIENCE)
        with ExitStack() as other, models.batch(MODEL, 1) as lent:
            if beside_one_that_left:
                other.enter_context(models.batch(MODEL, 1)).pixels[:] = 0
            lent.pixels[:] = BATCH[:1]
            other.close()
            with pytest.raises((ContractMismatch, DependencyUnavailable)):
                await lent.infer(5)
            # Nobody gets the slot with these rows.
            assert len(models.transport) == 0
            assert (lent.pixels == BATCH[:1]).all()
        way = Way.PARTIAL if beside_one_that_left else Way.SHARED_MEMORY
        assert models.transport.inputs == {way: 1}
    finally:
        await models.close()
        await server.stop(None)


async def test_a_triton_that_never_says_does_not_hold_the_start_up() -> None:
    models = TritonServer("127.0.0.1:1", Mode.AUTO, slots=1)
    with pytest.raises(DependencyUnavailable, match=r"did not say within 0\.05 s whether it takes shared memory"):
        await models.transport.judged(0.05)
    await models.close()
