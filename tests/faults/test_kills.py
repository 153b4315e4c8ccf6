"""A handful of the kills of `make test-faults`, which has hundreds; and whether its checker sees what is wrong."""

import asyncio
from pathlib import Path

import pytest

from semblance.client import AsyncClient
from semblance.client.testing import FakeSemblance
from semblance.orchestrator.testing import (
    MemoryImageStore,
    MemoryMetadataStore,
    MemoryRegistry,
    MemoryVectorIndex,
    example_release,
)
from semblance.orchestrator.verification import Verification
from tests.faults.kills import EVERY_PART, PATIENCE, Checker, run
from tests.faults.ledger import Version, photo
from tests.faults.load import Load
from tests.servers import postgresql_made

SEED = 1


@pytest.mark.timeout(600)
def test_kills_lose_nothing_that_was_acknowledged(
    postgresql_installed: tuple[Path, tuple[str, ...]], tmp_path: Path
) -> None:
    with postgresql_made(*postgresql_installed) as database:
        result = run(tmp_path, database, "lite", SEED, EVERY_PART)
    assert result.counts["acknowledged"] > 0
    assert (result.lost, result.wrong) == ([], [])
    # How fast it is, a machine that does other things meanwhile does not tell.
    assert max(result.recoveries) < PATIENCE


async def test_the_checker_sees_what_is_lost_and_what_is_wrong() -> None:
    metadata, index = MemoryMetadataStore(), MemoryVectorIndex()
    registry = MemoryRegistry(metadata)
    release = await registry.add_first_release(example_release())
    await index.create(release, 1)
    with FakeSemblance() as service:
        async with AsyncClient(service.target) as client:
            load = Load(client, SEED)
            checker = Checker(load, Verification(metadata, MemoryImageStore(), index), registry)
            async with load.running(), asyncio.timeout(PATIENCE):
                while load.counts["acknowledged"] < 300 or load.counts["searches"] < 20:
                    await asyncio.sleep(0.01)
            assert (load.wrong, await checker.complaints()) == ([], [])
            there = [record.state for record in load.records.values() if record.certain and record.state]
            deleted, replaced, *_ = filter(None, there)
            await client.delete(deleted.item_id)
            (complaint,) = await checker.complaints()
            assert complaint.startswith(f"LOST: {deleted.item_id} is None")
            await client.put_item(deleted.item)
            await client.put_item(Version(replaced.item_id, 0, photo(SEED, "x", 0)).item)
            (complaint,) = await checker.complaints()
            assert complaint.startswith(f"LOST: {replaced.item_id}")
            await client.put_item(Version(replaced.item_id, replaced.number, photo(SEED, "x", 0)).item)
            (complaint,) = await checker.complaints()
            assert complaint.startswith("a search for")
