"""What every image store promises: a folder, an S3 bucket, and the fake."""

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import boto3
import pytest

from semblance.orchestrator.adapters import images
from semblance.orchestrator.adapters.images import FileImageStore
from semblance.orchestrator.errors import DependencyUnavailable, NotFound
from semblance.orchestrator.ports import ImageStore
from semblance.orchestrator.testing import MemoryImageStore


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in {
        "AWS_ENDPOINT_URL": s3,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    name = uuid4().hex
    boto3.client("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture(params=["memory", "folder", "s3"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ImageStore]:
    if request.param == "memory":
        yield MemoryImageStore()
        return
    url = f"file://{tmp_path}/images" if request.param == "folder" else f"s3://{request.getfixturevalue('bucket')}/some"
    files = FileImageStore(url)
    yield files
    await files.close()


async def test_gives_back_the_bytes(store: ImageStore) -> None:
    files = [b"", b"a", os.urandom(3_000_000)]
    await asyncio.gather(*(store.write(digest(data), data) for data in files))
    assert await asyncio.gather(*(store.read(digest(data)) for data in files)) == files


async def test_has_no_image_that_was_not_written(store: ImageStore) -> None:
    with pytest.raises(NotFound, match=digest(b"x")):
        await store.read(digest(b"x"))


async def test_takes_the_same_image_again_even_at_once(store: ImageStore) -> None:
    data = os.urandom(500_000)
    await asyncio.gather(*(store.write(digest(data), data) for _ in range(8)))
    assert await store.read(digest(data)) == data


async def test_lists_the_images_of_a_shard(store: ImageStore) -> None:
    files = {digest(data): data for data in (b"1", b"22", b"333")}
    moment = datetime.now(UTC) - timedelta(seconds=2)
    for image_id, data in files.items():
        await store.write(image_id, data)
        (stored,) = await store.list(image_id[:2])
        assert (stored.image_id, stored.size) == (image_id, len(data))
        assert moment < stored.written_at < datetime.now(UTC) + timedelta(seconds=2)
    assert await store.list("zz") == []


async def test_removes_only_what_is_old(store: ImageStore) -> None:
    await store.write(digest(b"1"), b"1")
    (stored,) = await store.list(digest(b"1")[:2])
    assert not await store.remove(digest(b"1"), stored.written_at)
    assert await store.read(digest(b"1")) == b"1"
    assert await store.remove(digest(b"1"), stored.written_at + timedelta(seconds=1))
    with pytest.raises(NotFound):
        await store.read(digest(b"1"))
    assert await store.list(digest(b"1")[:2]) == []
    assert not await store.remove(digest(b"1"), datetime.now(UTC))


async def test_writing_an_image_again_makes_it_young(tmp_path: Path) -> None:
    store = FileImageStore(f"file://{tmp_path}")
    await store.write(digest(b"1"), b"1")
    os.utime(tmp_path / digest(b"1")[:2] / digest(b"1"), (0, 0))
    await store.write(digest(b"1"), b"1")
    assert not await store.remove(digest(b"1"), datetime.now(UTC) - timedelta(minutes=1))
    await store.close()


async def test_an_image_that_is_written_while_it_is_removed_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileImageStore(f"file://{tmp_path}")
    path = tmp_path / digest(b"1")[:2] / digest(b"1")
    rename = Path.rename
    for when in ("before", "after"):
        await store.write(digest(b"1"), b"1")
        os.utime(path, (0, 0))

        def with_a_writer(old: Path, new: Path, when: str = when) -> Path:
            monkeypatch.setattr(Path, "rename", rename)
            if when == "before":
                images._write_durably(path, b"1")
            renamed = rename(old, new)
            if when == "after":
                images._write_durably(path, b"1")
            return renamed

        monkeypatch.setattr(Path, "rename", with_a_writer)
        await store.remove(digest(b"1"), datetime.now(UTC) - timedelta(minutes=1))
        assert await store.read(digest(b"1")) == b"1"
    assert [each.image_id for each in await store.list(digest(b"1")[:2])] == [digest(b"1")]
    await store.close()


async def test_a_killed_writer_leaves_what_can_be_removed(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from semblance.orchestrator.adapters import images\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "images._write_durably(Path(sys.argv[1]), b'1')\n"
    )
    folder = tmp_path / "ab"
    folder.mkdir()
    subprocess.run([sys.executable, "-c", program, folder / ("ab" * 32)], check=False)
    store = FileImageStore(f"file://{tmp_path}")
    (left,) = await store.list("ab")
    assert left.image_id != "ab" * 32
    with pytest.raises(NotFound):
        await store.read("ab" * 32)
    assert await store.remove(left.image_id, datetime.now(UTC) + timedelta(minutes=1))
    assert not any(folder.iterdir())
    await store.close()


async def test_a_folder_is_sharded_and_holds_nothing_but_whole_files(tmp_path: Path) -> None:
    store = FileImageStore(f"file://{tmp_path}/a/b")
    await store.write(digest(b"1"), b"1")
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()] == [
        Path("a", "b", digest(b"1")[:2], digest(b"1"))
    ]
    await store.close()


async def test_a_half_written_file_is_written_again(tmp_path: Path) -> None:
    store = FileImageStore(f"file://{tmp_path}")
    path = tmp_path / digest(b"whole")[:2] / digest(b"whole")
    path.parent.mkdir()
    path.write_bytes(b"wh")
    await store.write(digest(b"whole"), b"whole")
    assert await store.read(digest(b"whole")) == b"whole"
    await store.close()


async def test_a_failed_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / digest(b"1")[:2]).mkdir()
    store = FileImageStore(f"file://{tmp_path}")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DependencyUnavailable, match="disk is full"):
        await store.write(digest(b"1"), b"1")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    await store.close()


def test_an_acknowledged_image_survives_a_kill(tmp_path: Path) -> None:
    program = (
        "import asyncio, os, signal, sys\n"
        "from semblance.orchestrator.adapters.images import FileImageStore\n"
        "asyncio.run(FileImageStore(sys.argv[1]).write(sys.argv[2], b'1' * 100_000))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, f"file://{tmp_path}", "ab" * 32], check=False)
    assert killed.returncode == -9
    assert (tmp_path / "ab" / ("ab" * 32)).read_bytes() == b"1" * 100_000


async def test_a_folder_that_can_not_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = FileImageStore(f"file://{tmp_path}/file/images")
    with pytest.raises(DependencyUnavailable, match="file/images"):
        await store.write(digest(b"1"), b"1")
    await store.close()


async def test_a_missing_bucket_is_unavailable(bucket: str) -> None:
    store = FileImageStore(f"s3://no-{bucket}")
    with pytest.raises(DependencyUnavailable, match="create it"):
        await store.write(digest(b"1"), b"1")
    with pytest.raises(DependencyUnavailable, match="create it"):
        await store.read(digest(b"1"))
    with pytest.raises(DependencyUnavailable, match="create it"):
        await store.list("ab")
    await store.close()


async def test_an_unreachable_bucket_is_unavailable(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    store = FileImageStore(f"s3://{bucket}")
    with pytest.raises(DependencyUnavailable, match="does not answer"):
        await store.write(digest(b"1"), b"1")
    with pytest.raises(DependencyUnavailable, match="does not answer"):
        await store.read(digest(b"1"))
    await store.close()


async def test_a_silent_server_is_unavailable_in_time(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1") as silent:
        port = silent.sockets[0].getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setattr(images, "CALL_TIMEOUT", 0.5)
        store = FileImageStore(f"s3://{bucket}")
        with pytest.raises(DependencyUnavailable, match=r"within 0\.5 s"):
            await store.read(digest(b"1"))
        await store.close()


def test_refuses_another_protocol() -> None:
    with pytest.raises(ValueError, match="must be file://folder or s3://bucket/prefix"):
        FileImageStore("http://example.org")


@pytest.fixture(params=["folder", "s3"])
async def files(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FileImageStore]:
    url = f"file://{tmp_path}/images" if request.param == "folder" else f"s3://{request.getfixturevalue('bucket')}/some"
    made = FileImageStore(url)
    yield made
    await made.close()


async def test_a_probe_leaves_nothing(files: FileImageStore, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    data = b"an image"
    await files.write(digest(data), data)
    await files.probe()
    if (tmp_path / "images").exists():
        assert [path.name for path in (tmp_path / "images").iterdir()] == [digest(data)[:2]]
    else:
        objects = boto3.client("s3").list_objects_v2(Bucket=request.getfixturevalue("bucket"))["Contents"]
        assert [each["Key"] for each in objects] == [f"some/{digest(data)[:2]}/{digest(data)}"]


async def test_a_probe_makes_no_folder(tmp_path: Path) -> None:
    store = FileImageStore(f"file://{tmp_path}/new/images")
    with pytest.raises(NotFound, match="is not there"):
        await store.probe()
    assert not (tmp_path / "new").exists()
    (tmp_path / "new").touch()
    with pytest.raises(DependencyUnavailable):
        await store.probe()


async def test_a_probe_tells_of_a_missing_bucket(bucket: str) -> None:
    store = FileImageStore(f"s3://{bucket}-gone/some")
    with pytest.raises(DependencyUnavailable, match="create it"):
        await store.probe()
    await store.close()
