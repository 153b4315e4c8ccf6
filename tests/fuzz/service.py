"""The services that the port is fuzzed on: on fakes in a process of its own, and on the real Triton and Milvus."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from semblance.benchmarks import null_models
from semblance.client import Client, NewItem
from semblance.orchestrator.adapters.manifests import FileModelRepository
from semblance.orchestrator.logs import log_to_stderr
from semblance.orchestrator.testing import (
    MemoryImageStore,
    MemoryMetadataStore,
    MemoryVectorIndex,
    example_release,
)
from semblance.serving import milvus, orchestrator, ports, process, triton
from tests.fuzz.corpus.generate import picture, saved
from tests.integration.service.world import GatedInferenceServer, World, publish

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 60.0
# Pixels of a photo, so that the memory of a run says something about messages too.
MAX_PIXELS = 2**20


@dataclass(frozen=True, slots=True)
class Served:
    address: str
    pid: int
    log: Path

    def serving(self) -> bool:
        return orchestrator.is_ready(self.address)


@contextmanager
def on_fakes(folder: Path) -> Iterator[Served]:
    address = f"{ports.LOOPBACK}:{ports.free(1)[0]}"
    command = [sys.executable, "-m", __name__, str(folder), address]
    environment = process.this_environment()
    with process.running(
        "service", command, log=folder / "service.log", environment=environment, folder=ROOT
    ) as running:
        running.wait_until(lambda: orchestrator.is_ready(address), READY_SECONDS)
        served = Served(address, running.pid, running.log)
        _fill(served)
        yield served


@contextmanager
def on_stack(folder: Path) -> Iterator[Served]:
    """With models that compute nothing, so that the calls are many."""
    repository = folder / "models"
    null_models.publish(repository)
    with (
        triton.running(repository, folder / "triton") as inference,
        milvus.lite(folder / "milvus") as index,
        orchestrator.running(
            folder / "orchestrator",
            repository=repository,
            triton=inference.grpc,
            milvus=index.uri,
            settings={"SEMBLANCE_MAX_IMAGE_PIXELS": str(MAX_PIXELS)},
        ) as running,
    ):
        served = Served(running.address, running.pid, running.log)
        _fill(served)
        yield served


def _fill(served: Served) -> None:
    """An item with an attribute of each type, so that filters can be right."""
    attributes: dict[str, str | int | float | bool] = {"colour": "red", "price": 2.5, "stock": 3, "rare": True}
    with Client(served.address) as client:
        client.put_item(NewItem("filled", [saved(picture(), "PNG")], attributes))


async def _serve(folder: Path, listen: str) -> None:
    release = example_release()
    repository = FileModelRepository(str(folder))
    models = []
    for model in (release.detector, release.embedder):
        publish(folder, model)
        models.append(await repository.describe(model.name, model.version))
    world = World(folder, GatedInferenceServer(*models), MemoryVectorIndex(), MemoryMetadataStore(), MemoryImageStore())
    service = world.service(listen=listen, max_image_pixels=MAX_PIXELS)
    await service.bind()
    await service.activate()
    await asyncio.Event().wait()


if __name__ == "__main__":
    log_to_stderr("INFO")
    asyncio.run(_serve(Path(sys.argv[1]), sys.argv[2]))
