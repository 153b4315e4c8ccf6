"""A full disk, and one that can't be written to: a clear answer, nothing lost, and service again without a restart.

Each store gets a small disk of its own, a tmpfs, which takes root to mount.
"""

import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from grpc import StatusCode

from semblance.orchestrator import verification
from semblance.orchestrator.adapters.images import FileImageStore
from semblance.orchestrator.adapters.manifests import FileModelRepository
from semblance.orchestrator.adapters.metadata import Database, SqlFeedbackStore, SqlMetadataStore, SqlRegistry
from semblance.orchestrator.bootstrap import Service
from semblance.orchestrator.errors import DependencyUnavailable
from semblance.orchestrator.ports import Ports
from semblance.orchestrator.settings import Settings
from semblance.orchestrator.testing import FakeInferenceServer, MemoryVectorIndex, example_release
from semblance.orchestrator.verification import Verification
from semblance.v1.catalog_pb2 import GetRequest, PutResponse
from tests.faults.ledger import photo
from tests.integration.service.world import Caller, item, publish

# Of the small disks, and more puts than either takes.
SIZES = {"images": "256k", "metadata": "1m"}
MANY = 2000


@dataclass(frozen=True, slots=True)
class Disk:
    folder: Path

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", self.folder], check=True)


@pytest.fixture(params=["images", "metadata"])
def store(request: pytest.FixtureRequest) -> str:
    """The store that is on the small disk."""
    return str(request.param)


@pytest.fixture
def disk(tmp_path: Path, store: str) -> Iterator[Disk]:
    """Mounted where the store is."""
    folder = tmp_path / store
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZES[store]}", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a small disk can't be mounted here: {mounted.stderr.strip()}")
    yield Disk(folder)
    subprocess.run(["umount", folder], check=True)


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[Caller, Ports]]:
    """A service on fakes of Triton and Milvus, and on the real stores."""
    repository = FileModelRepository(str(folder / "models"))
    example = example_release()
    models = []
    for model in (example.detector, example.embedder):
        publish(folder / "models", model)
        models.append(await repository.describe(model.name, model.version))
    database = Database(f"sqlite:///{folder}/metadata/metadata.db")
    metadata, registry, feedback = SqlMetadataStore(database), SqlRegistry(database), SqlFeedbackStore(database)
    images, index = FileImageStore(f"file://{folder}/images"), MemoryVectorIndex()
    settings = Settings.read({"listen": "127.0.0.1:0", "startup_wait": "0"})
    ports = Ports({"Triton": FakeInferenceServer(*models)}, repository, index, metadata, registry, images, feedback)
    service = Service(settings, ports)
    caller = Caller(await service.bind())
    try:
        await service.activate()
        yield caller, ports
    finally:
        await caller.channel.close()
        await service.stop()
        await database.close()
        await images.close()


async def put_until_refused(caller: Caller) -> tuple[dict[str, bytes], PutResponse]:
    """What was acknowledged, and the first other answer."""
    acknowledged: dict[str, bytes] = {}
    for number in range(MANY):
        item_id, file = f"i{number}", photo(0, "i", number)
        (answer,) = await caller.put(item(item_id, file))
        if answer.outcome != PutResponse.CREATED:
            return acknowledged, answer
        acknowledged[item_id] = file
    raise AssertionError("the disk never filled")


async def check(caller: Caller, ports: Ports, acknowledged: dict[str, bytes]) -> None:
    """All of it is there, whole, and the index and the image store agree."""
    for item_id, file in acknowledged.items():
        got = await caller.catalog.Get(GetRequest(item_id=item_id, include_image_data=True))
        assert got.images[0].data == file
    release = await ports.registry.active_release()
    assert release is not None
    checked = Verification(ports.metadata, ports.images, ports.index)
    assert not [found async for page in checked.items(release) for found in page.disagreements]
    assert not [image_id async for page in checked.images() for image_id in page.lost]


async def test_a_full_disk_refuses_what_it_can_not_keep(tmp_path: Path, disk: Disk, store: str) -> None:
    async with serving(tmp_path) as (caller, ports):
        acknowledged, refused = await put_until_refused(caller)
        assert len(acknowledged) > 10
        assert (refused.failure.code, refused.failure.reason) == (
            StatusCode.UNAVAILABLE.value[0],
            "DEPENDENCY_UNAVAILABLE",
        )
        assert "the disk is full" in refused.failure.message
        assert store.removesuffix("s") in refused.failure.message
        disk.remount("size=4m")
        (answer,) = await caller.put(item(refused.item_id, photo(0, "new", 1)))
        # It may have got as far as the metadata before.
        assert answer.outcome in (PutResponse.CREATED, PutResponse.REPLACED)
        await check(caller, ports, acknowledged | {refused.item_id: photo(0, "new", 1)})


@pytest.mark.parametrize("store", ["images"], indirect=True)
async def test_images_that_can_not_be_written_refuse_puts_and_nothing_else(tmp_path: Path, disk: Disk) -> None:
    file = photo(0, "known", 1)
    async with serving(tmp_path) as (caller, ports):
        await caller.put(item("known", file))
        disk.remount("ro")
        (refused,) = await caller.put(item("new", photo(0, "new", 1)))
        assert refused.failure.reason == "DEPENDENCY_UNAVAILABLE"
        assert "the file system is read-only" in refused.failure.message
        assert (await caller.search(file)).objects[0].hits[0].item_id == "known"
        disk.remount("rw")
        (answer,) = await caller.put(item("new", photo(0, "new", 1)))
        assert answer.outcome == PutResponse.CREATED
        await check(caller, ports, {"known": file, "new": photo(0, "new", 1)})


@pytest.mark.parametrize("store", ["metadata"], indirect=True)
async def test_metadata_that_can_not_be_written_stops_the_start(tmp_path: Path, disk: Disk) -> None:
    disk.remount("ro")
    with pytest.raises(
        DependencyUnavailable, match=r"metadata store can't be used: (it is read-only|.*can't be opened)"
    ):
        async with serving(tmp_path):
            pass


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "SECOND_LOOK", 0.1)
