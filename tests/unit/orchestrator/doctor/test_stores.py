"""The database, the image store and the model repository."""

import pytest

from semblance.orchestrator.doctor import database, images, repository
from semblance.orchestrator.doctor.finding import Outcome
from semblance.orchestrator.doctor.looks import Clocks, Tables
from semblance.orchestrator.errors import DependencyUnavailable, NotFound
from semblance.orchestrator.item import CatalogSize
from semblance.orchestrator.release import Presence
from semblance.orchestrator.testing import MemoryMetadataStore, MemoryRegistry
from tests.unit.orchestrator.doctor.fakes import (
    MODELS,
    NOTHING,
    RELEASE,
    FakeDatabase,
    FakeImages,
    FakeRepository,
    changed,
    live,
    only,
    outcomes,
)

POSTGRESQL = "postgresql+psycopg://semblance:hunter2@db/semblance"
SQLITE = "sqlite:///file"


@pytest.fixture
async def stores() -> database.Stores:
    metadata = MemoryMetadataStore()
    registry = MemoryRegistry(metadata)
    await registry.add_first_release(RELEASE)
    await registry.appear(Presence("a:1:0:ff", "r1"))
    return database.Stores(FakeDatabase(), metadata, registry)


async def test_a_database_that_is_well(stores: database.Stores) -> None:
    findings, known = await database.examine(POSTGRESQL, stores)
    assert outcomes(findings) == {}
    assert "hunter2" not in str(findings)
    assert [each.release for each in known.releases] == [RELEASE]
    assert known.models == list(MODELS)
    assert [each.name for each in known.present] == ["a:1:0:ff"]
    assert known.sizes[RELEASE.collection] == (CatalogSize(0, 0, 0), 0)


async def test_a_database_that_can_not_be_read(stores: database.Stores) -> None:
    assert isinstance(stores.registry, MemoryRegistry)
    stores.registry.fail(DependencyUnavailable("it does not answer"))
    findings, known = await database.examine(POSTGRESQL, stores)
    assert outcomes(findings) == {"reach": Outcome.FAILURE}
    assert known.problem


async def test_a_database_that_hangs(stores: database.Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PATIENCE", 0.01)
    assert isinstance(stores.look, FakeDatabase)
    stores.look.hangs = True
    findings, known = await database.examine(POSTGRESQL, stores)
    assert outcomes(findings) == {"reach": Outcome.FAILURE}
    assert known.problem


@pytest.mark.parametrize(
    ("tables", "outcome", "known"),
    [
        (Tables(frozenset()), Outcome.OK, False),
        (Tables(frozenset({"items"}), missing=frozenset({"leases"})), Outcome.WARNING, False),
        (Tables(frozenset({"items"}), missing_columns=frozenset({"items.x"})), Outcome.WARNING, False),
        (Tables(frozenset({"items"}), unknown_columns=frozenset({"items.x"})), Outcome.WARNING, True),
    ],
)
async def test_tables_of_other_versions(stores: database.Stores, tables: Tables, outcome: Outcome, known: bool) -> None:
    assert isinstance(stores.look, FakeDatabase)
    stores.look.known = tables
    findings, found = await database.examine(POSTGRESQL, stores)
    assert only(findings, "tables").outcome is outcome
    assert bool(found.releases) is known


@pytest.mark.parametrize(
    ("clocks", "outcome"),
    [
        (Clocks(0.5, -3000.0), Outcome.OK),
        (Clocks(None, None), Outcome.OK),
        (Clocks(-1.5, None), Outcome.FAILURE),
        (Clocks(2.0, None), Outcome.FAILURE),
        (Clocks(None, 1.5), Outcome.FAILURE),
    ],
)
def test_clocks(clocks: Clocks, outcome: Outcome) -> None:
    assert database.clocks(clocks).outcome is outcome


def test_sqlite_is_for_one_host() -> None:
    here, beside, there = (Presence(f"{name}:0:ff", "r1") for name in ("a:1", "a:2", "b:1"))
    assert database.sharing(SQLITE, (here, beside)).outcome is Outcome.OK
    assert database.sharing(SQLITE, (here, there)).outcome is Outcome.WARNING
    assert database.sharing(POSTGRESQL, (here, there)).outcome is Outcome.OK


async def test_images_that_can_be_written() -> None:
    assert outcomes(await images.examine("file://images", FakeImages())) == {}


async def test_images_that_can_not(monkeypatch: pytest.MonkeyPatch) -> None:
    look = FakeImages()
    look.failure = NotFound("the image store is not there")
    assert outcomes(await images.examine("file://images", look)) == {}
    look.failure = DependencyUnavailable("the disk is full")
    found = await images.examine("file://images", look)
    assert (outcomes(found), found[0].found) == ({"probe": Outcome.FAILURE}, "the disk is full")
    look.hangs = True
    monkeypatch.setattr(images, "PATIENCE", 0.01)
    assert outcomes(await images.examine("file://images", look)) == {"probe": Outcome.FAILURE}


async def test_a_repository_that_is_well() -> None:
    look = FakeRepository()
    findings, models = await repository.newest(look)
    assert (outcomes(findings), models) == ({}, list(MODELS))
    for known in (live(), NOTHING):
        assert outcomes(await repository.examine(look, known, models)) == {}


async def test_a_model_that_was_never_published() -> None:
    look = FakeRepository()
    del look.models["embedder"]
    findings, models = await repository.newest(look)
    assert (outcomes(findings), models) == ({"newest embedder": Outcome.FAILURE}, [MODELS[0]])
    # A live release needs it all the same.
    assert outcomes(await repository.examine(look, live(), models)) == {"files of embedder version 1": Outcome.FAILURE}


@pytest.mark.parametrize("known", [live(), NOTHING])
async def test_files_that_are_not_those_that_were_published(known: object) -> None:
    look = FakeRepository()
    look.files_changed = True
    found = await repository.examine(look, known, list(MODELS))  # type: ignore[arg-type]
    assert outcomes(found) == {f"files of {model.name} version 1": Outcome.FAILURE for model in MODELS}


async def test_configurations_of_the_repository() -> None:
    look = FakeRepository()
    look.configs["detector"] = changed("detector", model_warmup=None)
    del look.configs["embedder"]
    assert outcomes(await repository.examine(look, live(), [])) == {
        "warm-up of detector": Outcome.WARNING,
        "configuration of embedder": Outcome.FAILURE,
    }
