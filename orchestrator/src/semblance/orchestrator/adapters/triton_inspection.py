"""`TritonLook` over Triton's gRPC protocol."""

import mmap
from secrets import token_hex

import grpc
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from semblance.orchestrator.adapters import shared_memory
from semblance.orchestrator.adapters.triton import CHANNEL_OPTIONS
from semblance.orchestrator.adapters.triton_status import NO_CONTROL, errors
from semblance.orchestrator.release import ModelVersion

NOBODYS = "semblance-no-such-model"


class TritonInspection:
    def __init__(self, url: str) -> None:
        """`url` is host:port. Needs a running event loop."""
        self._url = url
        self._channel = grpc.aio.insecure_channel(url, options=CHANNEL_OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    async def close(self) -> None:
        await self._channel.close()

    async def version(self, timeout: float) -> str:
        with errors(self._url):
            answer = await self._stub.ServerMetadata(service_pb2.ServerMetadataRequest(), timeout=timeout)
        return str(answer.version)

    async def folders(self, timeout: float) -> frozenset[str]:
        with errors(self._url):
            index = await self._stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(), timeout=timeout)
        return frozenset(model.name for model in index.models)

    async def is_explicit(self, timeout: float) -> bool:
        request = service_pb2.RepositoryModelUnloadRequest(model_name=f"{NOBODYS}-{token_hex(4)}")
        with errors(self._url):
            try:
                await self._stub.RepositoryModelUnload(request, timeout=timeout)
            except grpc.aio.AioRpcError as error:
                if NO_CONTROL in (error.details() or ""):
                    return False
                raise
        return True

    async def config(self, model: ModelVersion, timeout: float) -> model_config_pb2.ModelConfig:
        with errors(self._url, model):
            answer = await self._stub.ModelConfig(
                service_pb2.ModelConfigRequest(name=model.name, version=str(model.version)), timeout=timeout
            )
        return answer.config

    async def refusal(self, timeout: float) -> str:
        name = shared_memory.new_name()
        try:
            with shared_memory.named(name, mmap.PAGESIZE), errors(self._url):
                return await self._refusal(name, timeout)
        except OSError as error:
            return f"{shared_memory.FOLDER} can't be written: {error.strerror}"

    async def _refusal(self, name: str, timeout: float) -> str:
        region = service_pb2.SystemSharedMemoryRegisterRequest(name=name, key=f"/{name}", byte_size=mmap.PAGESIZE)
        try:
            await self._stub.SystemSharedMemoryRegister(region, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise
            return error.details() or error.code().name
        finally:
            # Triton does nothing where it does not know the region.
            await self._stub.SystemSharedMemoryUnregister(
                service_pb2.SystemSharedMemoryUnregisterRequest(name=name), timeout=timeout
            )
        return ""
