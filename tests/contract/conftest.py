"""Stores on a database of each kind, new for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from semblance.orchestrator.testing import MemoryFeedbackStore, MemoryMetadataStore, MemoryRegistry
from tests.contract.stores import RELEASE, Open, Stores, opened


def _url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgresql_database"))
    return f"sqlite:///{tmp_path}/new/metadata.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return _url(request, tmp_path)


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def another(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens the stores of one database again, as another orchestrator does."""
    if request.param == "memory":
        memory = MemoryMetadataStore()
        stores = Stores(memory, MemoryRegistry(memory), MemoryFeedbackStore(memory))
        yield lambda: stores
        return
    async with opened(_url(request, tmp_path)) as again:
        yield again


@pytest.fixture
async def stores(another: Open) -> Stores:
    """With an active release."""
    opened = another()
    await opened.registry.add_first_release(RELEASE)
    return opened
