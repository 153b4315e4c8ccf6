"""Services on fakes, started for one test each."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from semblance.orchestrator import dependency
from semblance.orchestrator.adapters.manifests import FileModelRepository
from semblance.orchestrator.bootstrap import Service
from semblance.orchestrator.testing import (
    MemoryImageStore,
    MemoryMetadataStore,
    MemoryVectorIndex,
    example_release,
)
from tests.integration.service.world import Caller, GatedInferenceServer, World, publish


@pytest.fixture(autouse=True)
def no_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which would take the failures that a test has in store for a call."""
    monkeypatch.setattr(dependency, "PROBE_SECONDS", 1000.0)


@pytest.fixture
async def world(tmp_path: Path) -> World:
    release = example_release()
    repository = FileModelRepository(str(tmp_path))
    models = []
    for model in (release.detector, release.embedder):
        publish(tmp_path, model)
        models.append(await repository.describe(model.name, model.version))
    return World(
        tmp_path, GatedInferenceServer(*models), MemoryVectorIndex(), MemoryMetadataStore(), MemoryImageStore()
    )


@pytest.fixture
async def start(world: World) -> AsyncIterator[Callable[..., Any]]:
    """Starts services on the world, which end with the test."""
    started: list[tuple[Service, Caller]] = []

    async def starting(**settings: Any) -> Caller:
        service = world.service(**settings)
        caller = Caller(await service.bind())
        started.append((service, caller))
        await service.activate()
        return caller

    yield starting
    world.models.gate.set()
    for service, caller in started:
        await caller.channel.close()
        await service.stop()


@pytest.fixture
async def caller(start: Callable[..., Any]) -> Caller:
    made: Caller = await start()
    return made
