"""`semblance verify` and `semblance rebuild` beside a real service, and after losses."""

import itertools
import json
import os
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pymilvus import MilvusClient

from semblance.client import Client
from semblance.serving import milvus, orchestrator, triton
from semblance.serving.process import StartError
from tests.faults import models
from tests.faults.ledger import Version, photo
from tests.stack import semblance

ITEMS = [Version(f"i{number}", number, photo(0, "i", number)) for number in range(8)]
PATIENCE = 60


@dataclass
class Catalogue:
    """The stores of a service that may run or not, and commands over them."""

    folder: Path
    repository: Path
    triton: str
    vectors: milvus.Milvus
    metadata_url: str

    def start(self) -> Any:
        return orchestrator.running(
            self.folder,
            repository=self.repository,
            triton=self.triton,
            milvus=self.vectors.uri,
            settings={"SEMBLANCE_MAX_DEADLINE": "10", "SEMBLANCE_METADATA_URL": self.metadata_url},
        )

    @property
    def metadata(self) -> tuple[str, str]:
        return "--metadata-url", self.metadata_url

    @property
    def stores(self) -> tuple[str, ...]:
        return *self.metadata, "--image-store", f"file://{self.images}", "--milvus-uri", self.vectors.uri

    @property
    def images(self) -> Path:
        return self.folder / "images"

    def verify(self, *flags: str) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
        """The exit status, what was found, and the summary."""
        done = semblance("verify", "--json", *self.stores, *flags)
        assert done.returncode < 2, done.stderr
        *findings, summary = map(json.loads, done.stdout.splitlines())
        return done.returncode, findings, summary

    def milvus(self) -> Any:
        return MilvusClient(self.vectors.uri, timeout=PATIENCE)

    def collections(self) -> list[str]:
        return sorted(self.milvus().list_collections())

    def rows(self) -> dict[str, Any]:
        (collection,) = self.collections()
        found = self.milvus().query(collection, filter='item_id >= ""', limit=1000, output_fields=["*", "vector"])
        return {row["key"]: row for row in found}


@pytest.fixture(scope="module")
def inference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[triton.Triton]:
    folder = tmp_path_factory.mktemp("inference")
    models.publish(folder / "model_repository")
    with triton.running(folder / "model_repository", folder / "triton") as server:
        yield server


@pytest.fixture
def catalogue(request: pytest.FixtureRequest, inference: triton.Triton, tmp_path: Path) -> Iterator[Catalogue]:
    """Its metadata are in SQLite unless a test asks for PostgreSQL."""
    repository = inference.log.parents[1] / "model_repository"
    folder = tmp_path / "service"
    in_postgresql = getattr(request, "param", "sqlite") == "postgresql"
    url = request.getfixturevalue("postgresql_database") if in_postgresql else f"sqlite:///{folder}/metadata.db"
    with milvus.lite(tmp_path / "milvus") as vectors:
        yield Catalogue(folder, repository, inference.grpc, vectors, url)


def put(client: Client) -> None:
    assert {str(outcome) for _, outcome in client.put([version.item for version in ITEMS])} == {"created"}


def check_found(client: Client) -> None:
    for version in ITEMS:
        assert client.search(version.photo, top_k=1).objects[0].hits[0].item_id == version.item_id


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.1)


def test_what_disagrees_is_found_and_mended_beside_the_service(catalogue: Catalogue) -> None:
    with catalogue.start() as server, Client(server.address) as client:
        put(client)
        before = catalogue.rows()
        status, findings, summary = catalogue.verify()
        assert (status, findings, summary["agree"]) == (0, [], True)
        assert (summary["items"], summary["rows"]) == (len(ITEMS), len(before))

        missing, stale, copied = list(before.values())[:3]
        index, (collection,) = catalogue.milvus(), catalogue.collections()
        index.delete(collection, ids=[missing["key"]])
        index.upsert(collection, [stale | {"attributes": {"version": -1}}])
        index.upsert(collection, [copied | {"key": "0" * 40, "item_id": "nobody's"}])
        status, findings, summary = catalogue.verify()
        assert status == 1
        assert (summary["missing"], summary["stale"], summary["extra"]) == (1, 1, 1)
        assert {found["item_id"] for found in findings} == {missing["item_id"], stale["item_id"], "nobody's"}
        status, _, summary = catalogue.verify("--repair")
        assert (status, summary["agree"]) == (0, True)
        assert catalogue.rows() == before
        check_found(client)


def test_a_lost_collection_stops_the_start_and_is_rebuilt(catalogue: Catalogue) -> None:
    with catalogue.start() as server, Client(server.address) as client:
        put(client)
        before = catalogue.rows()
    (collection,) = catalogue.collections()
    catalogue.milvus().drop_collection(collection)
    with pytest.raises(StartError, match="semblance rebuild"), catalogue.start():
        pass
    done = semblance("verify", *catalogue.stores)
    assert done.returncode == 1
    assert "semblance rebuild" in done.stderr
    done = semblance("rebuild", "--yes", "--no-wait", *catalogue.metadata)
    assert done.returncode == 0, done.stderr
    with catalogue.start() as server, Client(server.address) as client:
        assert catalogue.verify("--repair")[0] == 0
        assert catalogue.rows() == before
        assert catalogue.collections() != [collection]
        check_found(client)


def test_a_running_service_rebuilds_and_drops_the_old_collection(catalogue: Catalogue) -> None:
    with catalogue.start() as server, Client(server.address) as client:
        put(client)
        before = catalogue.rows()
        (collection,) = catalogue.collections()
        done = semblance("rebuild", "--yes", *catalogue.metadata)
        assert done.returncode == 0, done.stderr
        assert f"{len(ITEMS)} items indexed" in done.stdout
        check_found(client)
        until(lambda: collection not in catalogue.collections())
        assert catalogue.rows() == before
        assert catalogue.verify()[0] == 0


def test_images_of_deleted_items_are_named_and_removed_when_asked(catalogue: Catalogue) -> None:
    with catalogue.start() as server, Client(server.address) as client:
        put(client)
        gone, kept, *_ = (version.item_id for version in ITEMS)
        (gone_image,), (kept_image,) = client.get(gone).images, client.get(kept).images
        client.delete(gone)
    files = {path.name: path for path in catalogue.images.rglob("*") if path.is_file()}
    os.utime(files[gone_image.image_id], (0, 0))
    status, findings, summary = catalogue.verify()
    size = files[gone_image.image_id].stat().st_size
    assert (status, findings) == (0, [{"unreferenced_image": gone_image.image_id, "bytes": size}])
    files[kept_image.image_id].unlink()
    status, findings, summary = catalogue.verify("--collect")
    assert status == 1
    assert {"lost_image": kept_image.image_id} in findings
    assert summary["removed_images"] == 1
    assert not files[gone_image.image_id].exists()


def test_stores_that_can_not_be_read_are_neither_agreement_nor_disagreement(tmp_path: Path) -> None:
    stores = "--metadata-url", f"sqlite:///{tmp_path}/m.db", "--image-store", f"file://{tmp_path}/i"
    done = semblance("verify", *stores, "--milvus-uri", "http://127.0.0.1:1")
    assert done.returncode == 2
    assert "no release is active" in done.stderr
    assert semblance("rebuild", "--yes", *stores[:2]).returncode == 2


class Backup:
    """What docs/durability.md says, for either database."""

    def __init__(self, catalogue: Catalogue, folder: Path, programs: Path) -> None:
        self._catalogue = catalogue
        self._images = folder / "images"
        self._metadata = folder / "metadata"
        self._database = Path(catalogue.metadata_url.removeprefix("sqlite:///"))
        self._in_sqlite = catalogue.metadata_url.startswith("sqlite:")
        self._url = catalogue.metadata_url.replace("+psycopg", "")
        self._programs = programs
        folder.mkdir()

    def take(self) -> None:
        if self._in_sqlite:
            with closing(sqlite3.connect(self._database)) as connection:
                connection.execute("VACUUM INTO ?", [str(self._metadata)])
        else:
            self._run("pg_dump", "--format", "custom", "--file", self._metadata, self._url)
        # Files with a dot are being written.
        shutil.copytree(self._catalogue.images, self._images, ignore=shutil.ignore_patterns("*.*"))

    def lose_all_and_restore(self) -> None:
        shutil.rmtree(self._catalogue.images)
        shutil.copytree(self._images, self._catalogue.images)
        if self._in_sqlite:
            for file in self._database.parent.glob(f"{self._database.name}*"):
                file.unlink()
            shutil.copy(self._metadata, self._database)
        else:
            self._run("pg_restore", "--clean", "--if-exists", "--dbname", self._url, self._metadata)

    def _run(self, program: str, *arguments: str | Path) -> None:
        subprocess.run([self._programs / program, *arguments], check=True)


@pytest.mark.parametrize("catalogue", ["sqlite", "postgresql"], indirect=True)
def test_a_backup_taken_while_items_are_put_is_restored_whole(
    catalogue: Catalogue, tmp_path: Path, postgresql_installed: tuple[Path, tuple[str, ...]]
) -> None:
    backup = Backup(catalogue, tmp_path / "backup", postgresql_installed[0])
    with catalogue.start() as server, Client(server.address) as client, ThreadPoolExecutor(1) as thread:
        put(client)
        stop = threading.Event()
        late = (Version(f"late{number}", number, photo(0, "late", number)) for number in itertools.count())
        putting = thread.submit(
            lambda: [client.put_item(each.item) for each in itertools.takewhile(going_on(stop), late)]
        )
        until(lambda: client.count().items > len(ITEMS))
        backup.take()
        stop.set()
        assert putting.result(PATIENCE)
    backup.lose_all_and_restore()
    assert semblance("rebuild", "--yes", "--no-wait", *catalogue.metadata).returncode == 0
    with catalogue.start() as server, Client(server.address) as client:
        until(lambda: catalogue.verify()[0] == 0)
        check_found(client)
        for item in client.list():
            (image,) = client.get(item.item_id, include_image_data=True).images
            assert image.data
            assert client.search(image.data, top_k=1).objects[0].hits[0].item_id == item.item_id


def going_on(stop: threading.Event) -> Callable[[object], bool]:
    return lambda _: not stop.is_set()
