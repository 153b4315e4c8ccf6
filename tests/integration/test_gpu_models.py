"""Models for GPUs in a Triton without one: its core, its backends, and the way there that the orchestrator takes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from semblance.export import repository
from semblance.export.contract import embedder_of
from semblance.orchestrator.adapters.manifests import FileModelRepository
from semblance.orchestrator.adapters.transport import Mode
from semblance.orchestrator.adapters.triton import TritonServer
from semblance.orchestrator.errors import ContractMismatch
from semblance.serving import triton
from tests.unit.export import graphs

SHORT = embedder_of(8)
LOAD_SECONDS = 60


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedder 1 for CPUs, 2 a graph for GPUs, 3 an engine."""
    folder = tmp_path_factory.mktemp("gpu")
    root = folder / "models"
    model = graphs.embedder(0, SHORT)
    repository.publish(graphs.exported(folder / "cpu", SHORT, model, golden=True), root)
    exported = graphs.exported(folder / "on-gpu", SHORT, model, golden=True, precision="fp16", gpu=graphs.L4)
    repository.publish(exported, root)
    repository.publish(graphs.built(exported), root)
    return root


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[triton.Triton]:
    with triton.running(models, tmp_path_factory.mktemp("run"), models=[]) as running:
        yield running


@pytest.mark.parametrize(
    ("version", "name", "reason"),
    [
        (2, "embedder_gpu_fp16", "has kind KIND_GPU but no GPUs are available"),
        (3, "embedder_engine", "unable to find backend library for backend 'tensorrt'"),
    ],
)
async def test_without_a_gpu_they_are_refused_with_the_reason_and_others_are_served(
    models: Path, server: triton.Triton, version: int, name: str, reason: str
) -> None:
    files = FileModelRepository(str(models))
    client = TritonServer(server.grpc, Mode.BYTES, slots=1)
    try:
        await client.load("embedder", [1], await files.config("embedder"), LOAD_SECONDS)
        model = await files.describe("embedder", version)
        assert model.name == name
        with pytest.raises(ContractMismatch, match=reason):
            await client.load(name, [version], await files.config(name), LOAD_SECONDS)
        assert await client.ready_versions(name, 5) == ()
        assert await client.ready_versions("embedder", 5) == (1,)
    finally:
        await client.close()
