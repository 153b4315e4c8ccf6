"""What counts as there: not what answers questions, but what does its work."""

import asyncio
from contextlib import suppress
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.orchestrator import dependency
from semblance.orchestrator.errors import DependencyUnavailable
from semblance.orchestrator.needs import Needs
from semblance.orchestrator.ports import ModelRepository, Ports
from semblance.orchestrator.release import ModelVersion
from semblance.orchestrator.testing import (
    FakeInferenceServer,
    MemoryImageStore,
    MemoryMetadataStore,
    MemoryVectorIndex,
    example_release,
)
from tests.integration.service.world import until

RELEASE = example_release()


class Broken(FakeInferenceServer):
    """Answers every question, and its embedder computes nothing."""

    broken = True

    async def infer(self, model: ModelVersion, batch: NDArray[np.uint8], timeout: float) -> NDArray[np.float32]:
        if self.broken and model.name == "embedder":
            raise DependencyUnavailable("its backend failed")
        return await super().infer(model, batch, timeout)


async def test_a_triton_one_of_whose_models_fails_gets_nothing_until_it_computes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dependency, "FIRST_RETRY", 0.001)
    monkeypatch.setattr(dependency, "LAST_RETRY", 0.01)
    models = RELEASE.detector, RELEASE.embedder
    good, bad = FakeInferenceServer(*models), Broken(*models)
    index = MemoryVectorIndex()
    await index.create(RELEASE, 1)
    repository = cast(ModelRepository, None)
    ports = Ports({"good": good, "bad": bad}, repository, index, MemoryMetadataStore(), MemoryImageStore())
    needs = Needs(ports, lambda: RELEASE, lambda: None)
    watching = [asyncio.create_task(watch) for watch in needs.watches()]
    _, left_out = (replica.dependency for replica in needs.models._replicas)

    async def photo() -> None:
        for model in models:
            with needs.models.batch(model, 1) as batch:
                batch.pixels[:] = 200
                await batch.infer(1.0)

    async def asked_for_long() -> bool:
        with suppress(DependencyUnavailable):
            await photo()
        return not left_out.available

    while not await asked_for_long():
        await asyncio.sleep(0)
    probed = len(bad.requests)
    await until(lambda: len(bad.requests) >= probed + 5)
    for _ in range(50):
        await photo()
    bad.broken = False
    await until(lambda: left_out.available)
    for task in watching:
        task.cancel()
    await asyncio.gather(*cast(Any, watching), return_exceptions=True)
