"""Inferences by Triton: the inputs of several callers go as one request, their rows side by side.

Rows are written where Triton reads them, in shared memory, if it runs on this host; otherwise, and where a caller left
a gap between the others' rows, they are copied once, into the message. See `coalescer` for who goes together.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from math import prod

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from semblance.orchestrator.adapters.coalescer import Call, Coalescer, Part
from semblance.orchestrator.adapters.ring import Slot
from semblance.orchestrator.adapters.transport import SLOT_BYTES, Transport, Way
from semblance.orchestrator.adapters.triton_status import (
    QUEUE_FULL,
    QUEUE_TIMEOUT,
    UNKNOWN_REGION,
    errors,
    title_of,
)
from semblance.orchestrator.errors import ContractMismatch, DeadlineExceeded
from semblance.orchestrator.release import ModelVersion, Tensor
from semblance.orchestrator.spans import calling

INFER = f"/{service_pb2.DESCRIPTOR.services_by_name['GRPCInferenceService'].full_name}/ModelInfer"
# Serialised requests that are kept: one for each slot of shared memory, model and number of rows.
REQUESTS_KEPT = 4096
FLOAT32_BYTES = 4
# Triton 2.51 crashes now and then where a call is cancelled, or its deadline passes, while it is being answered, and by
# triton-inference-server/server#8034 so does 2.54. Hence a call whose callers have all gone goes on, until Triton has
# been silent for so many seconds after its deadline, and keeps its place: Triton would compute no other one sooner.
OVERDUE_SECONDS = 5.0
RAW = service_pb2.ModelInferRequest.DESCRIPTOR.fields_by_name["raw_input_contents"].number


class Inference:
    """Of the models of the Triton at `url`."""

    def __init__(self, channel: grpc.aio.Channel, url: str, transport: Transport) -> None:
        # The stub's own would copy the input into the message, and the message into bytes.
        self.call: grpc.aio.UnaryUnaryMultiCallable[bytes, service_pb2.ModelInferResponse] = channel.unary_unary(
            INFER, response_deserializer=service_pb2.ModelInferResponse.FromString
        )
        self.url = url
        self.transport = transport
        self.requests: Coalescer[ModelVersion] = Coalescer(
            lambda model, rows: Request(self, model, rows), self._under_way
        )
        # Of each model, how many batches Triton computes at once.
        self._instances: dict[ModelVersion, int] = {}

    def runs(self, model: ModelVersion, instances: int) -> None:
        """Triton has so many instances of a model."""
        self._instances[model] = instances

    @contextmanager
    def batch(self, model: ModelVersion, rows: int) -> Iterator["TritonBatch"]:
        batch = TritonBatch(self, model, rows)
        writing = True
        try:
            yield batch
        except Exception:
            # Cancellation is none: who fills a batch has ended when it fails.
            writing = False
            raise
        finally:
            if batch.part.answer is None:
                self.requests.leave(model, batch.part, writing)

    def _under_way(self, model: ModelVersion) -> int:
        """One for each instance, and one that waits in Triton's queue for the next that is idle."""
        return self._instances.get(model, 1) + 1


class TritonBatch:
    """See `ports.Batch`."""

    def __init__(self, inference: Inference, model: ModelVersion, rows: int) -> None:
        self.part = Part(rows)
        self._inference = inference
        self._model = model

    @property
    def pixels(self) -> NDArray[np.uint8]:
        if self.part.data is None and not self._inference.requests.join(self._model, self.part):
            # Its caller has left, and nobody will read what is written.
            self.part.data = np.empty((self.part.rows, *self._model.input.dims), np.uint8)
        pixels: NDArray[np.uint8] = self.part.data
        return pixels

    async def infer(self, timeout: float) -> NDArray[np.float32]:
        try:
            async with asyncio.timeout(timeout):
                output: NDArray[np.float32] = await self._inference.requests.answer(self._model, self.part, timeout)
                return output
        except TimeoutError:
            raise DeadlineExceeded(
                f"Triton at {self._inference.url} did not answer for {title_of(self._model)} within {timeout:.3g} s"
            ) from None


class Request(Call):
    """One inference request, of at least `rows` rows."""

    cancellable = False

    def __init__(self, inference: Inference, model: ModelVersion, rows: int) -> None:
        row_bytes = prod(model.input.dims)
        leased = inference.transport.lease(rows * row_bytes)
        room = model.max_batch_size
        self._slot = leased if isinstance(leased, Slot) else None
        if self._slot is not None:
            room = min(room, SLOT_BYTES // row_bytes)
            self._pixels = self._slot.memory[: room * row_bytes].reshape(room, *model.input.dims)
        self._way = leased if isinstance(leased, Way) else Way.SHARED_MEMORY
        self._inference = inference
        self._model = model
        # Of the call, where it is part of a trace.
        self._metadata: list[tuple[str, str]] | None = None
        super().__init__(room)

    def add(self, part: Part) -> None:
        super().add(part)
        if self._slot is None:
            part.data = np.empty((part.rows, *self._model.input.dims), np.uint8)
        else:
            part.data = self._pixels[part.first : self.rows]

    async def send(self, timeout: float) -> NDArray[np.float32]:
        model = self._model
        timeout += OVERDUE_SECONDS
        attributes: dict[str, str | int] = {
            "server.address": self._inference.url,
            "model": model.name,
            "model.version": model.version,
            "rows": self._wanted,
        }
        with (
            errors(self._inference.url, model),
            calling(f"Triton {model.name}", attributes, self.spans) as self._metadata,
        ):
            if self._slot is None:
                return await self._in_message(self._way, timeout)
            if not self._whole:
                # The slot is kept until the answer: the message is a copy, but a thread could lease it meanwhile.
                try:
                    return await self._in_message(Way.PARTIAL, timeout)
                except Exception:
                    self._release(idle=False)
                    raise
            return await self._in_slot(self._slot, timeout)

    def close(self) -> None:
        """Triton was never asked to read what is still in the slot."""
        self._release(idle=True)

    @property
    def _wanted(self) -> int:
        """Rows that are sent."""
        return sum(part.rows for part in self.parts)

    @property
    def _whole(self) -> bool:
        """Whether the parts' rows are the first in the slot, with nobody's between them."""
        last = self.parts[-1]
        return self._wanted == last.first + last.rows

    async def _in_slot(self, slot: Slot, timeout: float) -> NDArray[np.float32]:
        model = self._model
        self._inference.transport.count(self._way, len(self.parts))
        idle = False
        try:
            response = await self._inference.call(
                _serialised(model.name, model.version, model.input, self._wanted, slot.name),
                timeout=timeout,
                metadata=self._metadata,
            )
            output = _output(response, model, self._wanted)
            idle = True
            return output
        except grpc.aio.AioRpcError as error:
            text = error.details() or ""
            # These are answers: nobody reads the input any more.
            idle = QUEUE_FULL in text or QUEUE_TIMEOUT in text
            if UNKNOWN_REGION not in text:
                raise
            self._inference.transport.lost(len(self.parts))
            return await self._send_message(timeout)
        finally:
            self._release(idle)

    async def _in_message(self, way: Way, timeout: float) -> NDArray[np.float32]:
        self._inference.transport.count(way, len(self.parts))
        return await self._send_message(timeout)

    async def _send_message(self, timeout: float) -> NDArray[np.float32]:
        response = await self._inference.call(self._message(), timeout=timeout, metadata=self._metadata)
        return _output(response, self._model, self._wanted)

    def _message(self) -> bytes:
        """The serialised request, its last field put behind the others by hand: the pixels are copied once."""
        model = self._model
        request = _serialised(model.name, model.version, model.input, self._wanted)
        size = sum(part.data.nbytes for part in self.parts)
        return b"".join((request, _varint(RAW << 3 | 2), _varint(size), *(part.data.data for part in self.parts)))

    def _release(self, idle: bool) -> None:
        """`idle`: Triton does not read the rows any more, nor does who asks another server after a failure."""
        slot, self._slot = self._slot, None
        if slot is not None:
            transport = self._inference.transport
            (transport.give_back if idle and not self.torn else transport.retire)(slot)


@lru_cache(REQUESTS_KEPT)
def _serialised(name: str, version: int, tensor: Tensor, rows: int, region: str = "") -> bytes:
    """A request; `region` names the shared memory of its input."""
    shape = (rows, *tensor.dims)
    message = service_pb2.ModelInferRequest.InferInputTensor(name=tensor.name, datatype=tensor.data_type, shape=shape)
    if region:
        message.parameters["shared_memory_region"].string_param = region
        message.parameters["shared_memory_byte_size"].int64_param = prod(shape)
    request = service_pb2.ModelInferRequest(model_name=name, model_version=str(version), inputs=[message])
    serialised: bytes = request.SerializeToString()
    return serialised


def _varint(number: int) -> bytes:
    """protobuf.dev/programming-guides/encoding: seven bits in each byte, the lowest first."""
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _output(response: service_pb2.ModelInferResponse, model: ModelVersion, rows: int) -> NDArray[np.float32]:
    """The one output, whole: a backend whose environment is broken answers with the right shape and no bytes."""
    expected = (rows, *model.output.dims)
    if len(response.outputs) != 1 or len(response.raw_output_contents) != 1:
        raise ContractMismatch(f"{title_of(model)} gave {len(response.outputs)} outputs instead of one")
    output, buffer = response.outputs[0], response.raw_output_contents[0]
    given = (output.name, output.datatype, tuple(output.shape))
    wanted = (model.output.name, model.output.data_type, expected)
    if given != wanted:
        raise ContractMismatch(f"{title_of(model)} gave {_described(*given)} instead of {_described(*wanted)}")
    size = prod(expected) * FLOAT32_BYTES
    if len(buffer) != size:
        raise ContractMismatch(
            f"{title_of(model)} gave {_described(*given)} in {len(buffer)} bytes instead of {size}; Triton's Python "
            "environment may hold numpy 2, which it does not work with"
        )
    return np.frombuffer(buffer, np.float32).reshape(expected)


def _described(name: str, data_type: str, shape: tuple[int, ...]) -> str:
    return f"{name} {data_type} {list(shape)}"
