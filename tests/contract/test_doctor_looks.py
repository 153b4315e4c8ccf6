"""What the doctor looks at, in real stores: it sees what is there, and changes nothing."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from pymilvus import MilvusClient
from sqlalchemy import text

from semblance.orchestrator.adapters.metadata import Database, SqlMetadataStore, SqlRegistry
from semblance.orchestrator.adapters.metadata.inspection import DatabaseInspection
from semblance.orchestrator.adapters.milvus import MilvusIndex
from semblance.orchestrator.doctor.looks import CollectionState
from semblance.orchestrator.errors import ContractMismatch, DependencyUnavailable
from semblance.orchestrator.release import IndexParameters, Presence
from semblance.orchestrator.testing import example_release
from tests.contract.stores import RELEASE, item

TIMEOUT = 30.0


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """As the service has it."""
    made = Database(url)
    yield made
    await made.close()


@pytest.fixture
async def read_only(url: str) -> AsyncIterator[Database]:
    made = Database(url, read_only=True)
    yield made
    await made.close()


async def alter(database: Database, statement: str) -> None:
    await database.run(lambda connection: connection.execute(text(statement)), writes=True)


async def test_tables_are_seen_and_not_made(url: str, read_only: Database) -> None:
    look = DatabaseInspection(url, read_only)
    for _ in range(2):
        assert not (await look.tables()).there


async def test_tables_of_this_version_and_of_others(url: str, database: Database, read_only: Database) -> None:
    look = DatabaseInspection(url, read_only)
    await SqlRegistry(database).releases()
    made = await look.tables()
    assert "releases" in made.there
    assert (made.missing, made.missing_columns, made.unknown_columns) == (frozenset(), frozenset(), frozenset())
    await alter(database, "ALTER TABLE releases DROP COLUMN rate")
    await alter(database, "ALTER TABLE items ADD COLUMN colour TEXT")
    await alter(database, "DROP TABLE leases")
    await alter(database, "CREATE TABLE strangers (name TEXT)")
    other = await look.tables()
    assert other.missing == {"leases"}
    assert other.missing_columns == {"releases.rate"}
    assert other.unknown_columns == {"items.colour"}


async def test_clocks_of_database_and_orchestrators(url: str, database: Database, read_only: Database) -> None:
    look = DatabaseInspection(url, read_only)
    await SqlRegistry(database).releases()
    assert (await look.clocks()).orchestrator is None
    await SqlRegistry(database).appear(Presence("a:1:0:ff", "r1"))
    found = await look.clocks()
    assert found.orchestrator == pytest.approx(0, abs=10)
    if "sqlite" in url:
        assert found.database is None
    else:
        assert found.database == pytest.approx(0, abs=1)


async def test_a_read_only_database_is_read_and_not_written(database: Database, read_only: Database) -> None:
    await SqlRegistry(database).add_first_release(RELEASE)
    assert await SqlRegistry(read_only).active_release() == RELEASE
    with pytest.raises(DependencyUnavailable, match="it is read-only"):
        await SqlMetadataStore(read_only).write(item("new"))


async def test_an_sqlite_file_that_nobody_has_open_is_left_as_it_was(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/with space/metadata.db"
    database = Database(url)
    await SqlRegistry(database).add_first_release(RELEASE)
    await database.close()
    before = sorted(path.name for path in (tmp_path / "with space").iterdir())
    looking = Database(url, read_only=True)
    assert (await DatabaseInspection(url, looking).tables()).there
    assert await SqlRegistry(looking).active_release() == RELEASE
    await looking.close()
    assert sorted(path.name for path in (tmp_path / "with space").iterdir()) == before == ["metadata.db"]


async def test_an_sqlite_file_that_could_not_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    url = f"sqlite:///{tmp_path}/file/metadata.db"
    database = Database(url, read_only=True)
    with pytest.raises(DependencyUnavailable, match="can't be made"):
        await DatabaseInspection(url, database).tables()
    await database.close()


@pytest.fixture(params=["milvus_lite", pytest.param("milvus_standalone", marks=pytest.mark.standalone)])
def milvus(request: pytest.FixtureRequest) -> str:
    uri: str = request.getfixturevalue(request.param)
    return uri


async def test_a_collection_is_described_and_not_loaded(milvus: str) -> None:
    release = replace(example_release(8, f"test_{uuid4().hex}"), index=IndexParameters(m=12, ef_construction=80))
    index = MilvusIndex(milvus)
    with pytest.raises(ContractMismatch, match=release.collection):
        await index.describe(release.collection, TIMEOUT)
    await index.create(release, TIMEOUT)
    found = await index.describe(release.collection, TIMEOUT)
    is_lite = (await index.version(TIMEOUT)).startswith("milvus_lite")
    # Milvus Lite tells no parameters of an index.
    parameters = (None, None) if is_lite else (12, 80)
    assert found == CollectionState(8, release.embedder.sha256, True, "COSINE", "HNSW", *parameters)
    client = MilvusClient(milvus)
    client.release_collection(release.collection)
    for _ in range(2):
        assert not (await index.describe(release.collection, TIMEOUT)).loaded
    client.drop_collection(release.collection)
    client.close()
    await index.close()
