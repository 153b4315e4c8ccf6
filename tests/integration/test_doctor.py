"""`semblance doctor` on the whole product, first well, then with parts that are broken on purpose."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymilvus import DataType, MilvusClient

from semblance.client import Client, NewItem
from semblance.orchestrator.adapters.metadata import Database, SqlRegistry
from semblance.orchestrator.release import Release
from semblance.serving import milvus, orchestrator, ports, triton
from tests.stack import World

PROGRAM = Path(sys.executable).with_name("semblance")
PATIENCE = 120


def doctor(settings: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEMBLANCE_")}
    return subprocess.run(
        [PROGRAM, "doctor", *arguments],
        env=environment | settings,
        # A shell may allow few open files, of which the doctor would warn.
        preexec_fn=allow_open_files,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def allow_open_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def findings(settings: dict[str, str]) -> tuple[int, dict[tuple[str, str], dict[str, Any]]]:
    """The exit status, and what was found, by part and check."""
    done = doctor(settings, "--json")
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert len({(each["part"], each["check"]) for each in found}) == len(found)
    return done.returncode, {(each["part"], each["check"]): each for each in found}


def wrong(found: dict[tuple[str, str], dict[str, Any]]) -> set[tuple[str, str, str]]:
    """All but what is well: part, check and outcome."""
    return {(*key, each["outcome"]) for key, each in found.items() if each["outcome"] != "ok"}


@pytest.fixture(scope="module")
def settings(
    inference: triton.Triton, repository: Path, world: World, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Of a service that runs, with two items."""
    folder = tmp_path_factory.mktemp("doctor")
    home = folder / "orchestrator"
    with (
        milvus.lite(folder / "milvus") as vectors,
        orchestrator.running(home, repository=repository, triton=inference.grpc, milvus=vectors.uri) as server,
    ):
        with Client(server.address) as client:
            for item_id, photo in list(world.photos.items())[:2]:
                client.put_item(NewItem(item_id, [photo]))
        yield {
            "SEMBLANCE_TRITON_URL": inference.grpc,
            "SEMBLANCE_MILVUS_URI": vectors.uri,
            "SEMBLANCE_METADATA_URL": f"sqlite:///{home}/metadata.db",
            "SEMBLANCE_IMAGE_STORE": f"file://{home}/images",
            "SEMBLANCE_MODEL_REPOSITORY": str(repository),
        }


@pytest.fixture
async def release(settings: dict[str, str]) -> Release:
    database = Database(settings["SEMBLANCE_METADATA_URL"], read_only=True)
    active = await SqlRegistry(database).active_release()
    await database.close()
    assert active is not None
    return active


def test_nothing_is_wrong_with_a_service_that_is_well(settings: dict[str, str]) -> None:
    images = Path(settings["SEMBLANCE_IMAGE_STORE"].removeprefix("file://"))
    before = sorted(images.rglob("*"))
    status, found = findings(settings)
    assert (status, wrong(found)) == (0, set())
    part = f"Triton at {settings['SEMBLANCE_TRITON_URL']}"
    assert found[part, "reach"]["found"] == "version 2.51.0"
    assert found[part, "shared memory"]["found"] == "it takes a page of this host's"
    assert "golden pictures" in found[part, "answers of detector version 1"]["found"]
    assert found["Milvus", "rows of r1"]["found"].endswith("as many as the catalogue has")
    assert found["database", "sharing"]["found"] == "1 orchestrator runs"
    # The probe has left nothing.
    assert sorted(images.rglob("*")) == before


def test_people_get_a_table(settings: dict[str, str]) -> None:
    done = doctor(settings)
    assert done.returncode == 0
    assert "answers of detector version 1" in done.stdout
    assert done.stdout.splitlines()[-1].endswith(" ok, 0 warnings, 0 failures")


def test_a_triton_that_was_stopped(settings: dict[str, str], repository: Path, tmp_path: Path) -> None:
    with triton.running(repository, tmp_path, models=()) as server:
        changed = settings | {"SEMBLANCE_TRITON_URL": server.grpc}
        part = f"Triton at {server.grpc}"
        # The service runs, on another Triton, and has not loaded them here.
        status, found = findings(changed)
        assert status == 1
        assert wrong(found) == {(part, f"{name} version 1", "failure") for name in ("detector", "embedder")}
    status, found = findings(changed)
    assert (status, wrong(found)) == (1, {(part, "reach", "failure")})
    assert "start Triton, or correct SEMBLANCE_TRITON_URL" in found[part, "reach"]["mend"]
    # The rest was looked at all the same.
    assert ("Milvus", "rows of r1") in found
    assert ("image store", "probe") in found


def test_a_collection_of_another_dimension(settings: dict[str, str], release: Release, tmp_path: Path) -> None:
    with milvus.lite(tmp_path) as other:
        client = MilvusClient(other.uri)
        schema = client.create_schema()
        schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=8)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=8)
        client.create_collection(release.collection, schema=schema)
        client.close()
        status, found = findings(settings | {"SEMBLANCE_MILVUS_URI": other.uri})
    assert (status, wrong(found)) == (1, {("Milvus", "collection of r1", "failure")})
    problem = found["Milvus", "collection of r1"]
    assert (
        f"holds vectors of 8 numbers, and the release's embedder version 1 gives {release.dimension}"
        in (problem["found"])
    )
    assert "`semblance rebuild`" in problem["mend"]


def test_a_model_file_that_was_changed(settings: dict[str, str], repository: Path, tmp_path: Path) -> None:
    copy = tmp_path / "models"
    shutil.copytree(repository, copy)
    file = copy / "embedder" / "1" / "model.onnx"
    file.chmod(0o644)
    with file.open("ab") as model:
        model.write(b"\0")
    status, found = findings(settings | {"SEMBLANCE_MODEL_REPOSITORY": str(copy)})
    assert (status, wrong(found)) == (1, {("model repository", "files of embedder version 1", "failure")})
    problem = found["model repository", "files of embedder version 1"]
    assert "has the SHA-256" in problem["found"]
    assert "restore the version's folder" in problem["mend"]


def test_all_is_down_at_once(settings: dict[str, str], tmp_path: Path) -> None:
    one, two, three = ports.free(3)
    status, found = findings(
        settings
        | {
            "SEMBLANCE_TRITON_URL": f"127.0.0.1:{one}",
            "SEMBLANCE_MILVUS_URI": f"http://127.0.0.1:{two}",
            "SEMBLANCE_METADATA_URL": f"postgresql+psycopg://semblance:hunter2@127.0.0.1:{three}/database",
            "SEMBLANCE_MODEL_REPOSITORY": str(tmp_path),
        }
    )
    failed = {part for part, _, outcome in wrong(found) if outcome == "failure"}
    assert status == 1
    assert failed == {f"Triton at 127.0.0.1:{one}", "Milvus", "database", "model repository"}
    assert "hunter2" not in json.dumps(list(found.values()))


def test_nothing_is_made_before_the_first_start(tmp_path: Path, repository: Path) -> None:
    triton_port, milvus_port = ports.free(2)
    home = tmp_path / "home"
    _, found = findings(
        {
            "SEMBLANCE_TRITON_URL": f"127.0.0.1:{triton_port}",
            "SEMBLANCE_MILVUS_URI": f"http://127.0.0.1:{milvus_port}",
            "SEMBLANCE_METADATA_URL": f"sqlite:///{home}/metadata.db",
            "SEMBLANCE_IMAGE_STORE": f"file://{home}/images",
            "SEMBLANCE_MODEL_REPOSITORY": str(repository),
        }
    )
    assert found["database", "tables"]["found"] == "none yet; the first start makes them"
    assert found["image store", "probe"]["outcome"] == "ok"
    assert not home.exists()
