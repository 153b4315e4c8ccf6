"""The fake inference server loads as the real one does."""

from dataclasses import replace

import pytest

from semblance.orchestrator.errors import ContractMismatch
from semblance.orchestrator.testing import FakeInferenceServer, example_release

RELEASE = example_release()
ONE, TWO = RELEASE.embedder, replace(RELEASE.embedder, version=2)


async def test_exactly_the_named_versions_of_a_model_are_ready() -> None:
    server = FakeInferenceServer(RELEASE.detector, ONE)
    server.published.add(TWO)
    with pytest.raises(ContractMismatch, match="embedder version 2"):
        await server.check(TWO, 5)
    await server.load("embedder", [1, 2], "{}", 5)
    assert await server.ready_versions("embedder", 5) == (1, 2)
    await server.load("embedder", [2], "{}", 5)
    await server.check(TWO, 5)
    with pytest.raises(ContractMismatch, match="embedder version 1"):
        await server.check(ONE, 5)
    await server.load("embedder", [], "", 5)
    assert await server.ready_versions("embedder", 5) == ()
    await server.check(RELEASE.detector, 5)


async def test_a_version_that_was_not_published_can_not_be_loaded() -> None:
    server = FakeInferenceServer(ONE)
    with pytest.raises(ContractMismatch, match="embedder version 3, 9"):
        await server.load("embedder", [1, 9, 3], "{}", 5)
    assert await server.ready_versions("embedder", 5) == (1,)
