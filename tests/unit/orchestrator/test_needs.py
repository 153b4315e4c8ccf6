"""What counts as there: not what answers questions, but what does its work."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.orchestrator import dependency
from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.decode import ImageLimits
from semblance.orchestrator.dependency import FAILURES
from semblance.orchestrator.errors import ContractMismatch, DependencyUnavailable
from semblance.orchestrator.needs import Needs
from semblance.orchestrator.pipeline import Answer, Pipeline, Query, Selection, Stopwatch
from semblance.orchestrator.ports import ModelRepository, Ports
from semblance.orchestrator.release import ModelVersion, Release
from semblance.orchestrator.testing import (
    FakeInferenceServer,
    MemoryFeedbackStore,
    MemoryImageStore,
    MemoryMetadataStore,
    MemoryRegistry,
    MemoryVectorIndex,
    example_release,
)
from semblance.orchestrator.threads import Threads
from tests.integration.service.world import RED_PHOTO, until

RELEASE = example_release()


def ports(models: Mapping[str, FakeInferenceServer], index: MemoryVectorIndex) -> Ports:
    metadata = MemoryMetadataStore()
    repository = cast(ModelRepository, None)
    registry, feedback = MemoryRegistry(metadata), MemoryFeedbackStore(metadata)
    return Ports(models, repository, index, metadata, registry, MemoryImageStore(), feedback)


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
    needs = Needs(ports({"good": good, "bad": bad}, index), lambda: [RELEASE], lambda: None)
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


CANDIDATE = replace(
    RELEASE, release_id="r2", embedder=replace(RELEASE.embedder, version=2, sha256="2" * 64), collection="other"
)
QUERY = Query(RED_PHOTO, Selection(), 10, -1.0, None, False)


class Searched:
    """Searches of two releases on what one needs; `changes` are when a part became available, or not any more."""

    def __init__(self) -> None:
        self.server = FakeInferenceServer(RELEASE.detector, RELEASE.embedder, CANDIDATE.embedder)
        self.vectors = MemoryVectorIndex()
        self.releases: Sequence[Release] = [RELEASE, CANDIDATE]
        self.changes = 0
        self.needs = Needs(ports({"Triton": self.server}, self.vectors), lambda: self.releases, self._change)
        self.threads = Threads(1)
        self.watching: list[asyncio.Task[None]] = []
        self.pipeline = Pipeline(self.needs.models, self.needs.index, self.threads, ImageLimits(10**6, 10**6))

    async def search(self, release: Release) -> Answer:
        self.needs.check_search()
        return await self.pipeline.search(QUERY, release, Deadline.after(10), Stopwatch())

    async def fails(self, release: Release, times: int) -> None:
        for _ in range(times):
            with pytest.raises(ContractMismatch):
                await self.search(release)

    def watch(self) -> None:
        """Until now, no probe makes up for failures."""
        self.watching = [asyncio.create_task(watch) for watch in self.needs.watches()]

    def _change(self) -> None:
        self.changes += 1


@pytest.fixture
async def searched(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Searched]:
    monkeypatch.setattr(dependency, "FIRST_RETRY", 0.001)
    made = Searched()
    for release in made.releases:
        await made.vectors.create(release, 1)
    yield made
    for task in made.watching:
        task.cancel()
    await asyncio.gather(*made.watching, return_exceptions=True)
    made.threads.close()


async def test_a_broken_model_of_a_candidate_leaves_triton_available(searched: Searched) -> None:
    await searched.search(CANDIDATE)
    searched.server.models.remove(CANDIDATE.embedder)
    await searched.fails(CANDIDATE, 2 * FAILURES)
    assert searched.needs.models.available
    assert (await searched.search(RELEASE)).release_id == "r1"
    assert searched.changes == 0


async def test_a_broken_collection_of_a_candidate_leaves_milvus_available(searched: Searched) -> None:
    await searched.search(CANDIDATE)
    await searched.vectors.drop(CANDIDATE.collection, 1)
    await searched.fails(CANDIDATE, 2 * FAILURES)
    assert searched.needs.vectors.available
    assert (await searched.search(RELEASE)).release_id == "r1"
    assert searched.changes == 0


async def test_a_broken_model_of_the_active_release_is_noticed_until_it_is_back(searched: Searched) -> None:
    searched.server.models.remove(RELEASE.embedder)
    await searched.fails(RELEASE, FAILURES)
    assert not searched.needs.models.available
    searched.server.models.add(RELEASE.embedder)
    searched.watch()
    await until(lambda: searched.needs.models.available)
    assert (await searched.search(RELEASE)).release_id == "r1"


async def test_a_broken_collection_of_the_active_release_is_noticed_until_it_is_back(searched: Searched) -> None:
    await searched.vectors.drop(RELEASE.collection, 1)
    await searched.fails(RELEASE, FAILURES)
    assert not searched.needs.vectors.available
    await searched.vectors.create(RELEASE, 1)
    searched.watch()
    await until(lambda: searched.needs.vectors.available)
    assert (await searched.search(RELEASE)).release_id == "r1"


async def test_probes_ask_nothing_of_a_candidate(searched: Searched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependency, "PROBE_SECONDS", 0.001)
    searched.server.models.remove(CANDIDATE.embedder)
    await searched.vectors.drop(CANDIDATE.collection, 1)
    probes = 0
    check = searched.vectors.check

    async def counted(release: Release, timeout: float) -> None:
        nonlocal probes
        probes += 1
        await check(release, timeout)

    monkeypatch.setattr(searched.vectors, "check", counted)
    searched.watch()
    await until(lambda: probes > 5)
    assert searched.changes == 0


async def test_what_a_candidate_shares_with_the_active_release_counts(searched: Searched) -> None:
    """Its detector is the same one."""
    searched.server.models.remove(RELEASE.detector)
    await searched.fails(CANDIDATE, FAILURES)
    assert not searched.needs.models.available


async def test_when_the_candidate_is_activated_its_parts_are_what_counts(searched: Searched) -> None:
    searched.server.models.remove(CANDIDATE.embedder)
    await searched.vectors.drop(RELEASE.collection, 1)
    searched.releases = [CANDIDATE]
    await searched.fails(RELEASE, 2 * FAILURES)
    assert searched.needs.vectors.available
    await searched.fails(CANDIDATE, FAILURES)
    assert not searched.needs.models.available


async def test_a_collection_is_dropped_by_its_name(searched: Searched) -> None:
    await searched.needs.index.drop(CANDIDATE.collection, 1.0)
    assert set(searched.vectors.collections) == {RELEASE.collection}
