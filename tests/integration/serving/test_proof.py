"""A Triton that takes a call and never answers."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from tritonclient.grpc import InferenceServerClient, service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from semblance.serving import proof

Context = grpc.ServicerContext


class Silent(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Never answers the call named `silent`."""

    def __init__(self, silent: str, stopped: threading.Event) -> None:
        self.silent = silent
        self.stopped = stopped

    def ModelMetadata(self, request: service_pb2.ModelMetadataRequest, context: Context) -> object:  # noqa: N802
        if self.silent == "ModelMetadata":
            self.stopped.wait()
        return service_pb2.ModelMetadataResponse(name=request.name, versions=["1"])

    def ModelConfig(self, request: service_pb2.ModelConfigRequest, context: Context) -> object:  # noqa: N802
        self.stopped.wait()
        return service_pb2.ModelConfigResponse()


@pytest.fixture(params=["ModelMetadata", "ModelConfig"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    stopped = threading.Event()
    server = grpc.server(ThreadPoolExecutor())
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Silent(request.param, stopped), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    stopped.set()
    server.stop(None).wait()


@pytest.mark.timeout(30)
def test_a_silent_triton_is_given_up(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "DESCRIBE_SECONDS", 0.2)
    with InferenceServerClient(address) as client, pytest.raises(InferenceServerException, match="DEADLINE_EXCEEDED"):
        proof.prove(client, "detector")
