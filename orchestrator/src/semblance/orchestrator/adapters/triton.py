"""`InferenceServer` over Triton's gRPC protocol.

The messages and the asyncio stub are tritonclient's. Its client around them is not used: it turns every status into a
text.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import grpc
import numpy as np
from grpc import StatusCode
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc

from semblance.orchestrator.adapters.ring import Slot
from semblance.orchestrator.adapters.transport import Mode, Transport
from semblance.orchestrator.errors import (
    ContractMismatch,
    DeadlineExceeded,
    DependencyUnavailable,
    Overloaded,
    SemblanceError,
)
from semblance.orchestrator.release import ModelVersion, Tensor

CHANNEL_OPTIONS = [
    # A batch of 64 letterboxed photos has 79 MB.
    ("grpc.max_send_message_length", 2**31 - 1),
    ("grpc.max_receive_message_length", 2**31 - 1),
    # By default gRPC waits up to two minutes before it tries to reach a restarted server again.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]

# What Triton says, with the status UNAVAILABLE as for much else, where a model's queue is full or a request waited too
# long in it (`core/src/dynamic_batch_scheduler.cc`, `scheduler_utils.cc`).
QUEUE_FULL = "Exceeds maximum queue size"
QUEUE_TIMEOUT = "Request timeout expired"
# The same for a model or version that is being loaded or unloaded (`core/src/model_repository_manager`).
NOT_READY = "is not at ready state"
# Where it was restarted and has lost what was registered (`src/shared_memory_manager.cc`).
UNKNOWN_REGION = "Unable to find shared memory region"

INFER = f"/{service_pb2.DESCRIPTOR.services_by_name['GRPCInferenceService'].full_name}/ModelInfer"
# Serialised requests that are kept: one for each slot of shared memory, model and number of rows.
REQUESTS_KEPT = 4096
FLOAT32_BYTES = 4
RAW = service_pb2.ModelInferRequest.DESCRIPTOR.fields_by_name["raw_input_contents"].number


class TritonServer:
    def __init__(self, url: str, mode: Mode, slots: int) -> None:
        """`url` is host:port, `slots` how many inputs may be in shared memory at once. Needs a running event loop."""
        self._url = url
        self._channel = grpc.aio.insecure_channel(url, options=CHANNEL_OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        # The stub's own would copy the input into the message, and the message into bytes.
        self._infer: grpc.aio.UnaryUnaryMultiCallable[bytes, service_pb2.ModelInferResponse] = (
            self._channel.unary_unary(INFER, response_deserializer=service_pb2.ModelInferResponse.FromString)
        )
        self.transport = Transport(self._stub, url, mode, slots)

    async def close(self) -> None:
        await self.transport.close()
        await self._channel.close()

    @contextmanager
    def batch(self, model: ModelVersion, rows: int) -> Iterator["TritonBatch"]:
        shape = (rows, *model.input.dims)
        size = prod(shape)
        slot = self.transport.lease(size)
        pixels = np.empty(shape, np.uint8) if slot is None else slot.memory[:size].reshape(shape)
        batch = TritonBatch(self, model, pixels, slot)
        try:
            yield batch
        except Exception:
            # Cancellation is none: who fills a batch has ended when it fails.
            batch.idle = batch.idle or not batch.sent
            raise
        finally:
            if slot is not None:
                (self.transport.give_back if batch.idle else self.transport.retire)(slot)

    async def infer(self, batch: "TritonBatch", timeout: float) -> NDArray[np.float32]:
        model = batch.model
        batch.sent = True
        with self._errors(model):
            try:
                message = _in_message(batch) if batch.slot is None else _in_slot(batch, batch.slot)
                response = await self._infer(message, timeout=timeout)
                batch.idle = True
            except grpc.aio.AioRpcError as error:
                text = error.details() or ""
                # These are answers: nobody reads the input any more.
                batch.idle = QUEUE_FULL in text or QUEUE_TIMEOUT in text
                if batch.slot is None or UNKNOWN_REGION not in text:
                    raise
                self.transport.lost()
                response = await self._infer(_in_message(batch), timeout=timeout)
        return _output(response, model, len(batch.pixels))

    async def check(self, model: ModelVersion, timeout: float) -> None:
        version = str(model.version)
        with self._errors(model):
            ready = await self._stub.ModelReady(
                service_pb2.ModelReadyRequest(name=model.name, version=version), timeout=timeout
            )
            if not ready.ready:
                raise ContractMismatch(f"Triton at {self._url} has not loaded {_title(model)}; load it there")
            metadata = await self._stub.ModelMetadata(
                service_pb2.ModelMetadataRequest(name=model.name, version=version), timeout=timeout
            )
            config = await self._stub.ModelConfig(
                service_pb2.ModelConfigRequest(name=model.name, version=version), timeout=timeout
            )
        await self.transport.judged(timeout)
        _compare(model, "inputs", metadata.inputs, model.input)
        _compare(model, "outputs", metadata.outputs, model.output)
        if config.config.max_batch_size < model.max_batch_size:
            raise ContractMismatch(
                f"{_title(model)} takes batches of {config.config.max_batch_size} in Triton, and its manifest says "
                f"{model.max_batch_size}; correct max_batch_size in its config.pbtxt"
            )

    async def ready_versions(self, name: str, timeout: float) -> tuple[int, ...]:
        with self._errors():
            index = await self._stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(ready=True), timeout=timeout)
        return tuple(sorted(int(model.version) for model in index.models if model.name == name))

    @contextmanager
    def _errors(self, model: ModelVersion | None = None) -> Iterator[None]:
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise self._translated(error, model) from None

    def _translated(self, error: grpc.aio.AioRpcError, model: ModelVersion | None) -> SemblanceError:
        subject = f"Triton at {self._url}"
        title = _title(model) if model else "its models"
        text = error.details() or ""
        match error.code():
            case StatusCode.DEADLINE_EXCEEDED:
                return DeadlineExceeded(f"{subject} did not answer for {title} within the request's deadline")
            case StatusCode.UNAVAILABLE if QUEUE_FULL in text:
                return Overloaded(f"{subject} has a full queue for {title}; try again later")
            case StatusCode.UNAVAILABLE if QUEUE_TIMEOUT in text:
                return DeadlineExceeded(f"{subject} left the request for {title} in its queue for too long")
            case StatusCode.UNAVAILABLE if NOT_READY in text:
                return DependencyUnavailable(f"{subject} is loading or unloading {title}; try again later")
            case StatusCode.UNAVAILABLE:
                return DependencyUnavailable(f"{subject} does not answer: {text}")
            case StatusCode.RESOURCE_EXHAUSTED:
                return Overloaded(f"{subject} is overloaded with {title}: {text}")
            case StatusCode.NOT_FOUND:
                return ContractMismatch(f"{subject} does not know {title}: {text}; load that version there")
            case StatusCode.INVALID_ARGUMENT:
                return ContractMismatch(f"{subject} refuses the input of {title}: {text}")
            case _:
                return DependencyUnavailable(f"{subject} failed on {title}: {text}")


@dataclass(slots=True, eq=False)
class TritonBatch:
    """See `ports.Batch`. `slot` holds the pixels where they are in shared memory; `sent`, whether Triton may have been
    asked; `idle`, whether nobody reads or writes them any more."""

    server: TritonServer
    model: ModelVersion
    pixels: NDArray[np.uint8]
    slot: Slot | None
    sent: bool = False
    idle: bool = False

    async def infer(self, timeout: float) -> NDArray[np.float32]:
        return await self.server.infer(self, timeout)


@lru_cache(REQUESTS_KEPT)
def _request(name: str, version: int, tensor: Tensor, rows: int, region: str = "") -> bytes:
    """Serialised; `region` names the shared memory of the input."""
    shape = (rows, *tensor.dims)
    message = service_pb2.ModelInferRequest.InferInputTensor(name=tensor.name, datatype=tensor.data_type, shape=shape)
    if region:
        message.parameters["shared_memory_region"].string_param = region
        message.parameters["shared_memory_byte_size"].int64_param = prod(shape)
    request = service_pb2.ModelInferRequest(model_name=name, model_version=str(version), inputs=[message])
    serialised: bytes = request.SerializeToString()
    return serialised


def _in_slot(batch: TritonBatch, slot: Slot) -> bytes:
    model = batch.model
    return _request(model.name, model.version, model.input, len(batch.pixels), slot.name)


def _in_message(batch: TritonBatch) -> bytes:
    """The serialised request, its last field put behind the others by hand: the pixels are copied once."""
    model = batch.model
    request = _request(model.name, model.version, model.input, len(batch.pixels))
    return b"".join((request, _varint(RAW << 3 | 2), _varint(batch.pixels.nbytes), batch.pixels.data))


def _varint(number: int) -> bytes:
    """protobuf.dev/programming-guides/encoding: seven bits in each byte, the lowest first."""
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _title(model: ModelVersion) -> str:
    return f"{model.name} version {model.version}"


def _output(response: service_pb2.ModelInferResponse, model: ModelVersion, rows: int) -> NDArray[np.float32]:
    """The one output, whole: a backend whose environment is broken answers with the right shape and no bytes."""
    expected = (rows, *model.output.dims)
    if len(response.outputs) != 1 or len(response.raw_output_contents) != 1:
        raise ContractMismatch(f"{_title(model)} gave {len(response.outputs)} outputs instead of one")
    output, buffer = response.outputs[0], response.raw_output_contents[0]
    given = (output.name, output.datatype, tuple(output.shape))
    wanted = (model.output.name, model.output.data_type, expected)
    if given != wanted:
        raise ContractMismatch(f"{_title(model)} gave {_described(*given)} instead of {_described(*wanted)}")
    size = prod(expected) * FLOAT32_BYTES
    if len(buffer) != size:
        raise ContractMismatch(
            f"{_title(model)} gave {_described(*given)} in {len(buffer)} bytes instead of {size}; Triton's Python "
            "environment may hold numpy 2, which it does not work with"
        )
    return np.frombuffer(buffer, np.float32).reshape(expected)


def _described(name: str, data_type: str, shape: tuple[int, ...]) -> str:
    return f"{name} {data_type} {list(shape)}"


def _compare(
    model: ModelVersion, side: str, given: list[service_pb2.ModelMetadataResponse.TensorMetadata], expected: Tensor
) -> None:
    actual = [(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in given]
    wanted = [(expected.name, expected.data_type, (-1, *expected.dims))]
    if actual != wanted:
        raise ContractMismatch(f"{_title(model)} has the {side} {actual} in Triton, and its manifest says {wanted}")
