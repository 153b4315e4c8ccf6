"""`InferenceServer` over Triton's gRPC protocol.

The messages and the asyncio stub are tritonclient's. Its client around them is not used: it turns every status into a
text.
"""

import json
from collections.abc import Collection
from contextlib import AbstractContextManager

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from semblance.orchestrator.adapters.inference import OVERDUE_SECONDS, Inference, TritonBatch
from semblance.orchestrator.adapters.transport import Mode, Transport
from semblance.orchestrator.adapters.triton_status import errors, load_errors, title_of
from semblance.orchestrator.errors import ContractMismatch
from semblance.orchestrator.ports import TransportUse
from semblance.orchestrator.release import ModelVersion, Tensor

CHANNEL_OPTIONS = [
    # A batch of 64 letterboxed photos has 79 MB.
    ("grpc.max_send_message_length", 2**31 - 1),
    ("grpc.max_receive_message_length", 2**31 - 1),
    # By default gRPC waits up to two minutes before it tries to reach a restarted server again.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


class TritonServer:
    def __init__(self, url: str, mode: Mode, slots: int) -> None:
        """`url` is host:port, `slots` how many requests may be in shared memory at once. Needs a running event loop."""
        self._url = url
        self._channel = grpc.aio.insecure_channel(url, options=CHANNEL_OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self.transport = Transport(self._stub, url, mode, slots)
        self._inference = Inference(self._channel, url, self.transport)

    async def close(self) -> None:
        """Waits for answers that nobody waits for any more, rather than cancel them, for five seconds, and as
        long again at most for Triton to give its shared memory back."""
        await self._inference.requests.rest(OVERDUE_SECONDS)
        await self.transport.close()
        await self._channel.close()

    def transport_use(self) -> TransportUse:
        return self.transport.use()

    def batch(self, model: ModelVersion, rows: int) -> AbstractContextManager[TritonBatch]:
        return self._inference.batch(model, rows)

    async def check(self, model: ModelVersion, timeout: float) -> None:
        version = str(model.version)
        with errors(self._url, model):
            ready = await self._stub.ModelReady(
                service_pb2.ModelReadyRequest(name=model.name, version=version), timeout=timeout
            )
            if not ready.ready:
                raise ContractMismatch(f"Triton at {self._url} has not loaded {title_of(model)}; load it there")
            metadata = await self._stub.ModelMetadata(
                service_pb2.ModelMetadataRequest(name=model.name, version=version), timeout=timeout
            )
            answer = await self._stub.ModelConfig(
                service_pb2.ModelConfigRequest(name=model.name, version=version), timeout=timeout
            )
        await self.transport.judged(timeout)
        _compare(model, "inputs", metadata.inputs, model.input)
        _compare(model, "outputs", metadata.outputs, model.output)
        config = answer.config
        if config.max_batch_size < model.max_batch_size:
            raise ContractMismatch(
                f"{title_of(model)} takes batches of {config.max_batch_size} in Triton, and its manifest says "
                f"{model.max_batch_size}; correct max_batch_size in its config.pbtxt"
            )
        instances = sum(group.count * max(1, len(group.gpus)) for group in config.instance_group)
        self._inference.runs(model, max(1, instances))

    async def ready_versions(self, name: str, timeout: float) -> tuple[int, ...]:
        with errors(self._url):
            index = await self._stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(ready=True), timeout=timeout)
        return tuple(sorted(int(model.version) for model in index.models if model.name == name))

    async def load(self, name: str, versions: Collection[int], config: str, timeout: float) -> None:
        if not versions:
            with load_errors(self._url, name):
                await self._stub.RepositoryModelUnload(
                    service_pb2.RepositoryModelUnloadRequest(model_name=name), timeout=timeout
                )
            return
        policy = {"version_policy": {"specific": {"versions": sorted(versions)}}}
        request = service_pb2.RepositoryModelLoadRequest(model_name=name)
        request.parameters["config"].string_param = json.dumps(json.loads(config) | policy)
        with load_errors(self._url, name):
            await self._stub.RepositoryModelLoad(request, timeout=timeout)
        # Triton passes over a version that is not there, as long as there is another.
        ready = await self.ready_versions(name, timeout)
        if missing := sorted({*versions} - {*ready}):
            raise ContractMismatch(
                f"Triton at {self._url} finds no {name} version {', '.join(map(str, missing))} in its model repository "
                f"(ready: {', '.join(map(str, ready)) or 'none'}); see that it reads the one that was published to"
            )


def _compare(
    model: ModelVersion, side: str, given: list[service_pb2.ModelMetadataResponse.TensorMetadata], expected: Tensor
) -> None:
    actual = [(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in given]
    wanted = [(expected.name, expected.data_type, (-1, *expected.dims))]
    if actual != wanted:
        raise ContractMismatch(f"{title_of(model)} has the {side} {actual} in Triton, and its manifest says {wanted}")
